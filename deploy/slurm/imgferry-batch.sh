#!/usr/bin/env bash
# A batch as a Slurm array job. Each task is a worker that takes the next unclaimed disk until none
# is left, so tasks may come and go, and any of them can be submitted again:
#   sbatch --array=1-8 deploy/slurm/imgferry-batch.sh fleet.yaml [options of batch run]
# With IMGFERRY_SHARDS=N, task I imports its fixed share instead, I of N, whatever the array is:
#   IMGFERRY_SHARDS=8 sbatch --array=3,7 deploy/slurm/imgferry-batch.sh fleet.yaml
# A task that runs out of time or is preempted is requeued and resumes where it stopped.
# Credentials come from the configuration file (imgferry config path). A task writes its own report
# to imgferry-JOB_TASK.json.
#SBATCH --job-name=imgferry
#SBATCH --array=1-4
#SBATCH --cpus-per-task=4
#SBATCH --mem=2G
#SBATCH --time=08:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=imgferry-%A_%a.log
# Send SIGTERM to this script two minutes before the end, so that the worker can write its journals.
#SBATCH --signal=B:TERM@120
set -euo pipefail

manifest=${1:?usage: sbatch --array=1-N imgferry-batch.sh MANIFEST [options of batch run]}
shift

task=${SLURM_ARRAY_TASK_ID:?run me with sbatch --array=1-N}

share=(--claim)
if [ -n "${IMGFERRY_SHARDS:-}" ]; then
    share=(--shard "$task/$IMGFERRY_SHARDS")
fi

# The cores and the memory that Slurm grants; the program itself needs some of the memory.
limits=()
if [ -n "${SLURM_CPUS_PER_TASK:-}" ]; then
    limits+=(--threads "$SLURM_CPUS_PER_TASK")
fi
if [ -n "${SLURM_MEM_PER_NODE:-}" ] && [ "$SLURM_MEM_PER_NODE" -gt 1024 ]; then
    limits+=(--memory "$((SLURM_MEM_PER_NODE - 512))MiB")
fi
report=imgferry-${SLURM_ARRAY_JOB_ID}_$task.json

worker=
signalled=
# shellcheck disable=SC2317 # called by the trap
forward() {
    signalled=yes
    [ -z "$worker" ] || kill -TERM "$worker" 2>/dev/null || true
}
trap forward TERM INT

# Before bash 4.4 an empty array counts as unset.
imgferry batch run "$manifest" "${share[@]}" ${limits[@]+"${limits[@]}"} \
    --report-json "$report" "$@" &
worker=$!

# A signal interrupts wait, so wait again for the exit code of the worker.
code=0
wait "$worker" || code=$?
while [ -n "$signalled" ]; do
    signalled=
    code=0
    wait "$worker" || code=$?
done

# 130: interrupted and resumable.
if [ "$code" -eq 130 ]; then
    scontrol requeue "${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}"
fi
exit "$code"

#!/usr/bin/env bash
# A batch as a Slurm array job: task I of N imports its share, the same in every run.
#   sbatch --array=1-8 deploy/slurm/imgferry-batch.sh fleet.yaml [options of batch run]
# A task that runs out of time or is preempted is requeued and resumes where it stopped.
# Credentials come from the configuration file (imgferry config path).
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

# The array may have any start and step: --array=0-7, --array=10-80:10.
first=${SLURM_ARRAY_TASK_MIN:?run me with sbatch --array=1-N}
step=${SLURM_ARRAY_TASK_STEP:-1}
index=$(((SLURM_ARRAY_TASK_ID - first) / step + 1))

# The memory that Slurm grants, minus what the program itself needs.
memory=()
if [ -n "${SLURM_MEM_PER_NODE:-}" ] && [ "$SLURM_MEM_PER_NODE" -gt 1024 ]; then
    memory=(--memory "$((SLURM_MEM_PER_NODE - 512))MiB")
fi

worker=
signalled=
# shellcheck disable=SC2317 # called by the trap
forward() {
    signalled=yes
    [ -z "$worker" ] || kill -TERM "$worker" 2>/dev/null || true
}
trap forward TERM INT

imgferry batch run "$manifest" --shard "$index/$SLURM_ARRAY_TASK_COUNT" "${memory[@]}" "$@" &
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

//! Converting a disk of which an earlier object holds most: only what has changed is sent.

use std::sync::Arc;
use std::time::Instant;

use ::convert::Report;
use ::convert::delta::{Blocks, Delta, DeltaPlan, PartRules, delta_zvhd2, find};
use cloud::{Failure, Result, from_obs, stopped};
use diskimg::units::human;
use obs::{JoiningSink, LARGEST_COPY, Layout, MAX_PARTS, UploadOptions};

use super::base::Base;
use super::reading::on_thread;
use super::route::give_up;
use super::sent::{Content, Sent};
use super::stream::{Transfer, noted_blocks, recorder};
use crate::ledger::Entry;
use crate::observe::{Activity, Step};

/// Bytes of the parts that are sent: larger ones only where 10,000 are too few.
const SIZES: [u64; 4] = [8 << 20, 16 << 20, 32 << 20, 64 << 20];

impl Transfer<'_> {
    /// Makes the object out of `base` and what has changed. `None` when a full run is needed: the
    /// server does not copy, or nothing is worth copying. An interrupted run is not resumed, but
    /// repeated.
    pub(super) async fn delta(&self, base: &Arc<Base>, entry: &mut Entry) -> Result<Option<Sent>> {
        let observer = self.route.observer;
        entry.forget();
        observer.at(Step::Compare);
        if let Some(changed) = &base.changed {
            observer.notice(format_args!("{}", changed.said()));
        }
        let disk = Arc::new(self.find(base, entry).await?);
        let changed = base.changed.as_ref();
        let changed_by = changed.map(|changed| changed.by(Some(disk.read_bytes)));
        observer.at(Step::Convert);
        let Some((plan, layout)) = self.plan_delta(&disk, base) else {
            observer.notice(format_args!(
                "nothing of {} is worth copying; the whole disk is sent",
                base.source.key
            ));
            return Ok(None);
        };
        observer.notice(format_args!(
            "{} blocks have changed since {}; the server copies up to {}, {} blocks or more are \
             sent",
            plan.changed_blocks,
            base.source.key,
            human(plan.copied_bytes),
            plan.made_blocks
        ));
        let options = UploadOptions {
            memory: self.plan.memory.sink,
            expected_max: self.plan.worst_case_bytes,
            layout,
            // Nothing is resumed.
            log: Arc::new(obs::VoidPartLog),
            ..self.options(entry)
        };
        let changed_blocks = Some(plan.changed_blocks);
        let (sink, mut upload) = self.route.begin(entry, &options).await?;
        let started = Instant::now();
        let made = match sink.into_joining(base.source.clone()) {
            Ok(sink) => self.join(base, disk, plan, sink, entry).await,
            Err(error) => Err(from_obs(&error)),
        };
        let converting = started.elapsed();
        observer.at(Step::Complete);
        let completing = Instant::now();
        let completed = match &made {
            Ok(report) => {
                let digest = report.digest.to_string();
                self.route.complete(entry, &mut upload, digest).await
            }
            Err(_) => Err(stopped()),
        };
        let (report, uploaded) = match (made, completed) {
            (Ok(report), Ok(uploaded)) => (report, uploaded),
            (Err(failure), _) | (Ok(_), Err(failure)) => {
                let refused = Base::copies_are_refused(&upload);
                if refused {
                    base.warn_of_refusal(&upload, observer);
                }
                let failure = give_up(&mut upload, entry, failure).await;
                if !refused {
                    return Err(failure);
                }
                entry.forget();
                return Ok(None);
            }
        };
        entry.completed(&uploaded)?;
        Ok(Some(Sent {
            content: Some(Content {
                changed_by,
                ..Content::from(&report)
            }),
            table: noted_blocks(entry, self.plan)?.1,
            changed_blocks,
            converting,
            completing: completing.elapsed(),
            ..Sent::new(uploaded)
        }))
    }

    /// Reads the disk.
    async fn find(&self, base: &Arc<Base>, entry: &Entry) -> Result<Blocks> {
        let progress = self
            .route
            .observer
            .count(Activity::Comparing, self.plan.virtual_size);
        let (threads, cancel) = (self.plan.threads, self.route.stop.token().clone());
        let (image, base) = (Arc::clone(&self.image), Arc::clone(base));
        let (monitor, watch) = (progress.clone(), entry.watch().clone());
        let found = on_thread(self.route.stop, move || {
            let changes = base.changed.as_ref().map(|changed| &changed.changes);
            let found = find(
                image.as_ref(),
                (&base.table, changes),
                threads,
                monitor.as_ref(),
                &cancel,
            );
            found.map_err(|error| watch.cause(error))
        });
        let found = found.await;
        progress.end();
        found
    }

    /// The plan, and how the object is cut into parts.
    fn plan_delta(&self, disk: &Blocks, base: &Base) -> Option<(DeltaPlan, Layout)> {
        let min_part = base.min_part;
        SIZES.into_iter().find_map(|part_size| {
            let rules = PartRules {
                least: min_part,
                largest_copy: LARGEST_COPY,
                sent: part_size,
                most: MAX_PARTS.into(),
            };
            let layout = Layout::Joined {
                part_size,
                min_part,
            };
            let fits = layout.least_memory() <= self.plan.memory.sink;
            let plan = DeltaPlan::new(disk, &base.table, &rules).filter(|_| fits)?;
            Some((plan, layout))
        })
    }

    /// Makes what is sent, and has the rest copied.
    async fn join(
        &self,
        base: &Arc<Base>,
        disk: Arc<Blocks>,
        plan: DeltaPlan,
        mut sink: JoiningSink,
        entry: &Entry,
    ) -> Result<Report> {
        let (image, monitor) = (Arc::clone(&self.image), Arc::clone(&self.monitor));
        let (whole, cancel) = (self.plan.clone(), self.route.stop.token().clone());
        let (base, watch, identity) = (Arc::clone(base), entry.watch().clone(), entry.identity());
        let mut recorder = recorder(entry);
        let joining = tokio::task::spawn_blocking(move || {
            let delta = Delta {
                base: &base.table,
                disk: &disk,
                plan: &plan,
                may_move: watch.moves(),
            };
            let report = delta_zvhd2(
                image.as_ref(),
                &whole,
                delta,
                identity,
                &mut sink,
                recorder.as_mut(),
                monitor.as_ref(),
                &cancel,
            );
            let report = report.map_err(|error| watch.cause(error))?;
            sink.close().map_err(|error| from_obs(&error))?;
            Ok::<_, Failure>(report)
        });
        self.route.running(joining).await
    }
}

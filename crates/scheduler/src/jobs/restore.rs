//! Detached jobs over the lives of servers: taking up those that an earlier server had, and forgetting old ones.

use super::{
    Engine, Jobs,
    job::{self, Job},
    keeper,
    rows::JobRow,
    run,
};
use dayfly_store::Error as StoreError;
use std::{
    any::Any,
    sync::{Arc, Weak},
    time::Duration,
};
use tokio::sync::mpsc;

/// How long outcomes wait for their client after the job's end.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);
/// How often is looked for what is older.
const ROUND: Duration = Duration::from_secs(3600);

impl Jobs {
    pub(super) async fn restore(&self) -> Result<(), StoreError> {
        let mut rows = self.engine.rows.jobs().await?;
        rows.sort_by_key(|row| (row.created_at, row.id));
        for row in rows {
            let calls = self.engine.rows.calls(row.id).await?;
            let outcomes = self.engine.rows.outcomes(row.id).await?;
            // A job that its client had not sent to the end, or all of which is fetched, is nobody's.
            if !row.closed || (row.ended_at.is_some() && outcomes.is_empty()) {
                self.engine.rows.remove(row.id, &row.code).await?;
                continue;
            }
            let place = (&row.account, &row.region);
            let function = row.specification.function(row.id, place, row.code.clone(), row.created_at);
            let (keeper, changes) = mpsc::unbounded_channel();
            let parts = job::Parts {
                id: row.id,
                in_flight: self.in_flight(&row.specification),
                specification: row.specification.clone(),
                function: Arc::new(function),
                created_at: row.created_at,
                all_arguments: Arc::clone(&self.engine.arguments),
                clock: Arc::clone(&self.engine.clock),
                events: None,
                keeper: Some(keeper),
            };
            let job = Arc::new(Job::restored(parts, &row, calls, outcomes));
            self.registry().insert(&job);
            let clock = Arc::clone(&self.engine.clock);
            tokio::spawn(keeper::run(self.engine.rows.clone(), row.clone(), Arc::downgrade(&job), clock, changes));
            if row.ended_at.is_none() {
                tokio::spawn(self.clone().resume(row, job));
            }
        }
        Ok(())
    }

    /// Runs what has not run. A call that ran when the earlier server ended runs again.
    async fn resume(self, row: JobRow, job: Arc<Job>) {
        let published: Result<Box<dyn Any + Send>, String> = match self.engine.rows.path(&row).await {
            Ok(path) => self.publish(&job.function, path).await.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        match published {
            Ok(lease) => self.dispatch(&job, lease),
            Err(reason) => {
                tracing::error!(job = %job.id, reason, "a job cannot go on");
                let message = format!("the job could not go on after the server had ended: {reason}");
                let body = serde_json::json!({"errorType": "InvalidEnvironment", "errorMessage": message});
                job.lose_rest(&body.to_string().into());
                run::dispatch(Arc::clone(&self.engine), job).await;
            }
        }
    }
}

/// Removes jobs whose outcomes nobody has fetched for long.
pub(super) async fn forget_old(engine: Weak<Engine>) {
    loop {
        let Some(jobs) = engine.upgrade().map(|engine| Jobs { engine }) else { return };
        let now = jobs.engine.clock.now();
        let is_old =
            |job: &&Arc<Job>| job.specification.detach && job.ended_at().is_some_and(|ended| ended + KEPT <= now);
        let old: Vec<Arc<Job>> = jobs.registry().by_id.values().filter(is_old).cloned().collect();
        for job in old {
            match jobs.engine.rows.remove(job.id, &job.function.code).await {
                Ok(()) => jobs.registry().forget(&job),
                Err(error) => tracing::warn!(job = %job.id, %error, "an old job stays for another while"),
            }
        }
        let clock = Arc::clone(&jobs.engine.clock);
        drop(jobs);
        clock.sleep_until(now + ROUND).await;
    }
}

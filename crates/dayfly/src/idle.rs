//! When a server that was started for one user's programs may end: nobody is served, and nothing runs or waits.

use dayfly_gateway::Activity;
use dayfly_scheduler::Handle;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Longest time between two looks.
const LOOK: Duration = Duration::from_secs(1);

/// Resolves when the server has been idle for so long; never when there is no such time.
pub async fn idle_for(time: Option<Duration>, activity: &Activity, scheduler: &Handle) {
    let Some(time) = time else { return std::future::pending().await };
    let (mut since, mut seen) = (Instant::now(), activity.ever());
    while since.elapsed() < time {
        sleep(LOOK.min(time / 4)).await;
        // What the store cannot tell counts as something.
        let idle = activity.under_way() == 0 && scheduler.is_idle().await.unwrap_or(false);
        let ever = activity.ever();
        if !idle || ever != seen {
            (since, seen) = (Instant::now(), ever);
        }
    }
}

//! Which versions have instances kept ready, and how many: what the scheduler wants, told as a whole each time.

use crate::{
    Handle, Versions,
    pool::{Kept, VersionHandle},
};
use dayfly_types::{FunctionConfiguration, LogSink};
use std::{collections::HashSet, sync::Arc, sync::atomic::Ordering};

/// Instances of a version that are to be kept ready.
pub struct Provision {
    /// The version.
    pub function: Arc<FunctionConfiguration>,
    /// How many.
    pub count: u32,
    /// Takes the lines of inits that no call waits for.
    pub logs: Arc<dyn LogSink>,
}

/// How far that is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Provisioning {
    /// Instances that wait for a call.
    pub ready: u32,
    /// All were ready since they were asked for. Calls take some, which are replaced.
    pub reached: bool,
    /// Why there are none.
    pub failure: Option<String>,
}

/// What is to be kept of one version.
pub(crate) struct Wanted {
    kept: Kept,
    /// Why it is not tried.
    refused: Option<String>,
}

impl Wanted {
    /// What the version's actor is to keep.
    pub(crate) fn kept(&self) -> Option<Kept> {
        self.refused.is_none().then(|| self.kept.clone())
    }
}

impl Handle {
    /// Keeps instances of these versions ready, and of no others. To be told again now and then: what has ended since,
    /// for its credentials run out, or with its sandbox, is begun anew then.
    pub fn provision(&self, wanted: Vec<Provision>) {
        let mut versions = self.versions();
        if self.draining.load(Ordering::Relaxed) {
            return;
        }
        let ids: HashSet<&str> = wanted.iter().map(|it| it.function.revision_id.as_str()).collect();
        let gone: Vec<String> = versions.provisioned.keys().filter(|id| !ids.contains(id.as_str())).cloned().collect();
        for id in gone {
            versions.provisioned.remove(&id);
            versions.dismiss(&id, |_| true);
        }
        let mut free_mb = u64::from(self.capacity_mb());
        for Provision { function, count, logs } in wanted {
            let needed_mb = u64::from(count) * u64::from(function.memory_mb);
            let refused = (needed_mb > free_mb).then(|| {
                format!("{count} instances of {} MB are more than the memory that is left here", function.memory_mb)
            });
            if refused.is_none() {
                free_mb -= needed_mb;
            }
            self.keep(&mut versions, &function, Wanted { kept: Kept { count, logs }, refused });
        }
    }

    /// How far it is with a version.
    pub fn provisioning(&self, revision_id: &str) -> Provisioning {
        let versions = self.versions();
        if let Some(reason) = versions.provisioned.get(revision_id).and_then(|wanted| wanted.refused.clone()) {
            return Provisioning { failure: Some(reason), ..Provisioning::default() };
        }
        let readiness = versions.current.get(revision_id).map(VersionHandle::readiness).unwrap_or_default();
        Provisioning { ready: readiness.ready, reached: readiness.reached, failure: readiness.failure }
    }

    fn keep(&self, versions: &mut Versions, function: &Arc<FunctionConfiguration>, mut wanted: Wanted) {
        let id = &function.revision_id;
        let before = versions.provisioned.get(id).filter(|before| before.refused.is_none());
        let (was_kept, count) = (before.map(|before| before.kept.count), wanted.kept.count);
        let usable = |version: &VersionHandle| {
            !version.ended() && !version.readiness().retired && version.reuse() == function.reuse()
        };
        if wanted.refused.is_none() && was_kept.is_some() && versions.current.get(id).is_some_and(usable) {
            if was_kept != Some(count)
                && let Some(version) = versions.current.get(id)
            {
                version.keep(count);
            }
            versions.provisioned.insert(id.clone(), wanted);
            return;
        }
        // An instance knows from its start whether it is one of these.
        if wanted.refused.is_none() || was_kept.is_some() {
            versions.dismiss(id, |_| true);
        }
        if let Some(kept) = wanted.kept() {
            match self.recipe(function, Some(kept)) {
                Ok(recipe) => {
                    let version = crate::pool::start(self.shared.clone(), recipe);
                    versions.current.insert(id.clone(), version);
                }
                Err(error) => wanted.refused = Some(error.to_string()),
            }
        }
        versions.provisioned.insert(id.clone(), wanted);
    }
}

//! Router discovery as a part of the speaker: started when some peer is an interface.

use ferrolb_crds::model::Neighbor;
use tokio::sync::watch;

use super::sessions::Sessions;
use crate::plan::Plan;
use crate::radv::{Radv, Report, Wanted};

/// Router discovery, if it runs.
#[derive(Debug, Default)]
pub(super) struct RouterLink(Option<(Radv, watch::Receiver<Report>)>);

impl RouterLink {
    /// On the interfaces that are peers in the plan.
    pub(super) fn want(&mut self, plan: &Plan, sessions: &Sessions) {
        let mut wanted = Wanted::new();
        for (name, session) in &plan.peers {
            if let Neighbor::Interface(interface) = &session.neighbor {
                let is_in_use = wanted.entry(interface.clone()).or_default();
                *is_in_use |= sessions.is_established(name);
            }
        }
        if self.0.is_none() && !wanted.is_empty() {
            let radv = Radv::start();
            let report = radv.report();
            self.0 = Some((radv, report));
        }
        if let Some((radv, _)) = &self.0 {
            radv.want(wanted);
        }
    }

    /// Who the routers are.
    pub(super) fn report(&self) -> Report {
        let report = self.0.as_ref().map(|(_, report)| report.borrow().clone());
        report.unwrap_or_default()
    }

    /// Waits until one is another. Cancel-safe.
    pub(super) async fn changed(&mut self) {
        if let Some((_, report)) = &mut self.0
            && report.changed().await.is_ok()
        {
            return;
        }
        std::future::pending::<()>().await;
    }
}

//! Whether what arrives here is delivered: the others are told, and people are.

use std::collections::BTreeSet;
use std::time::SystemTime;

use tokio::sync::watch;
use tracing::{info, warn};

use super::Speaker;
use crate::delivery::driver::Asking;
use crate::delivery::{Check, Verdict};
use crate::layer2::Report;
use crate::reports::Notice;
use crate::run::translate;
use crate::status;
use crate::world::{Delivery, Heard};

/// The question, if one is to be asked.
#[derive(Debug, Default)]
pub(super) struct DeliveryLink {
    asking: Option<(Asking, watch::Receiver<Verdict>)>,
    check: Option<Check>,
    verdict: Verdict,
    since: Option<SystemTime>,
}

impl DeliveryLink {
    /// Begins to ask, if there is whom.
    pub(super) fn start(check: Option<Check>) -> Self {
        let asking = check.clone().map(Asking::start);
        Self {
            asking: asking.map(|asking| {
                let verdict = asking.verdict();
                (asking, verdict)
            }),
            check,
            verdict: Verdict::Unknown,
            since: None,
        }
    }

    /// Waits until the verdict is another one; for ever if nobody is asked. Cancel-safe.
    pub(super) async fn changed(&mut self) {
        let is_changed = match &mut self.asking {
            Some((_, verdict)) => verdict.changed().await.is_ok(),
            None => false,
        };
        if !is_changed {
            std::future::pending::<()>().await;
        }
    }

    /// Where nobody is asked everything is taken to be delivered.
    pub(super) fn is_failing(&self) -> bool {
        self.check.is_some() && self.verdict != Verdict::Delivers
    }

    fn is_unproven(&self) -> bool {
        self.check.is_some() && self.verdict == Verdict::Unknown
    }

    /// For people; `None`: nobody is asked.
    pub(super) fn status(&self) -> Option<status::Delivery> {
        let check = self.check.as_ref()?;
        Some(status::Delivery {
            state: word(self.verdict).to_owned(),
            check: check.to_string(),
            since: self.since.map(status::time),
        })
    }
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Unknown => "unknown",
        Verdict::Delivers => "delivering",
        Verdict::Fails => "notDelivering",
    }
}

impl Speaker {
    /// The verdict is another one.
    pub(super) fn take_verdict(&mut self) {
        let link = &mut self.delivery;
        let Some((_, verdict)) = &mut link.asking else {
            return;
        };
        let verdict = *verdict.borrow_and_update();
        let before = std::mem::replace(&mut link.verdict, verdict);
        link.since = Some(SystemTime::now());
        let check = link.check.as_ref().map(ToString::to_string);
        let check = check.unwrap_or_default();
        match verdict {
            Verdict::Fails => warn!(check, "what arrives here is not delivered"),
            Verdict::Delivers | Verdict::Unknown => info!(check, "what arrives here is delivered"),
        }
        if let Some(cluster) = &self.cluster {
            cluster.note_delivery(verdict == Verdict::Delivers);
            if let Some(notice) = notice(before, verdict, &check) {
                cluster.notice(notice);
            }
        }
        let delivery = Delivery {
            is_failing: self.delivery.is_failing(),
            is_unproven: self.delivery.is_unproven(),
            ..self.world.delivery().clone()
        };
        let touched = self.world.note_delivery(delivery);
        self.replan(touched);
        // Also where nothing else differs.
        self.tell_layer2();
    }

    /// What the others say of themselves; of those that are not heard it is not known.
    pub(super) fn delivery(&self, report: &Report, unheard: &Heard) -> Delivery {
        let unheard: BTreeSet<String> = unheard.keys().cloned().collect();
        Delivery {
            is_failing: self.delivery.is_failing(),
            is_unproven: self.delivery.is_unproven(),
            failing: translate::failing(report),
            unheard,
        }
    }
}

/// What to tell of the node; that all is well from the beginning is not worth a word.
fn notice(before: Verdict, verdict: Verdict, check: &str) -> Option<Notice> {
    match (before, verdict) {
        (_, Verdict::Fails) => Some(Notice {
            is_warning: true,
            reason: "NotDelivering",
            message: format!(
                "{check} did not say three times in a row that traffic for Services is delivered here: other nodes                  take the addresses, as far as some deliver; look at kube-proxy on this node"
            ),
        }),
        (Verdict::Fails, Verdict::Delivers) => Some(Notice {
            is_warning: false,
            reason: "Delivering",
            message: format!("{check} says again that traffic for Services is delivered here"),
        }),
        (_, Verdict::Delivers | Verdict::Unknown) => None,
    }
}

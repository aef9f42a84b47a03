//! What has become of routes, until the session takes it in.
//!
//! It holds the latest of each prefix: whoever puts something in waits for nobody, and what is not taken
//! for a while does not pile up.

use std::mem;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use super::super::{Changed, supersede};

/// Where it waits.
#[derive(Debug, Default)]
pub(super) struct News {
    waiting: Mutex<Arc<Changed>>,
    arrived: Notify,
}

impl News {
    /// Adds what is newer.
    pub(super) fn put(&self, newer: Arc<Changed>) {
        supersede(
            &mut self.waiting.lock().unwrap_or_else(PoisonError::into_inner),
            newer,
        );
        self.arrived.notify_one();
    }

    /// Takes everything.
    pub(super) fn take(&self) -> Arc<Changed> {
        mem::take(&mut self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until there may be something. Cancel-safe.
    pub(super) fn arrived(&self) -> impl Future<Output = ()> {
        self.arrived.notified()
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::Route;
    use super::super::super::tests::net;
    use super::*;

    #[test]
    fn what_waits_is_taken_once_and_the_latest_of_each_prefix() {
        let tagged = |med| {
            Some(Route {
                med: Some(med),
                ..Route::default()
            })
        };
        let (one, two) = (net("192.0.2.1/32"), net("192.0.2.2/32"));
        let news = News::default();
        let first = Arc::new(Changed::from([(one, tagged(1)), (two, tagged(2))]));
        news.put(Arc::clone(&first));
        news.put(Arc::new(Changed::from([(one, None)])));
        assert_eq!(*news.take(), Changed::from([(one, None), (two, tagged(2))]));
        assert_eq!(first[&one], tagged(1), "others may still have it to read");
        assert!(news.take().is_empty());
        news.put(Arc::clone(&first));
        assert!(
            Arc::ptr_eq(&news.take(), &first),
            "shared where nothing else waits"
        );
    }
}

//! The same work for many items, on a few threads.

use std::thread;

/// Does the work for every item; results in the order of the items. A thread is started for `share`
/// items at least.
pub(crate) fn in_parallel<'a, T: Sync, R: Send>(
    items: &'a [T],
    threads: usize,
    share: usize,
    work: impl Fn(&'a T) -> R + Sync,
) -> Vec<R> {
    let share = items.len().div_ceil(threads).max(share);
    if items.len() <= share {
        return items.iter().map(work).collect();
    }
    let work = &work;
    thread::scope(|scope| {
        let shares: Vec<_> = items
            .chunks(share)
            .map(|share| scope.spawn(move || share.iter().map(work).collect::<Vec<_>>()))
            .collect();
        shares
            .into_iter()
            .flat_map(|share| share.join().expect("the work does not panic"))
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_in_the_order_of_the_items() {
        for count in [0, 1, 15, 16, 17, 1000] {
            let items: Vec<u32> = (0..count).collect();
            let doubled: Vec<u32> = items.iter().map(|item| item * 2).collect();
            assert_eq!(in_parallel(&items, 4, 16, |item| item * 2), doubled);
        }
    }
}

use super::pool::Pool;

/// Counts a request as waiting.
#[derive(Debug)]
pub(super) struct Waiting<'a>(&'a Pool);

impl<'a> Waiting<'a> {
    pub(super) fn new(pool: &'a Pool) -> Self {
        let waiting = &pool.metrics.pools.waiting;
        waiting.get_or_create(&pool.pool_label()).inc();
        Self(pool)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let waiting = &self.0.metrics.pools.waiting;
        waiting.get_or_create(&self.0.pool_label()).dec();
    }
}

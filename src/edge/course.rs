use tokio::sync::watch;

/// A step of a gateway's life. All of them go forward, but for a drain that is taken back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Not every socket serves yet.
    #[default]
    Starting,
    /// New clients are welcome.
    Ready,
    /// Everything is served as before while the network learns that clients should go elsewhere.
    Withdrawing,
    /// New connections are handed to peers where there are any, and clients are told to go.
    Draining,
    /// The process ends: no new connection, and the requests under way to their end.
    Ending,
    /// The time for that is over: what is left is cut off.
    Over,
}

impl Phase {
    /// The word in the body of `/readyz`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Withdrawing => "withdrawing",
            Self::Draining => "draining",
            Self::Ending => "ending",
            Self::Over => "over",
        }
    }
}

/// How every part of a process learns the phase, and at its end whether another part is still busy;
/// the same for all clones.
#[derive(Clone, Debug)]
pub(crate) struct Course {
    phase: watch::Receiver<Phase>,
    busy: watch::Sender<usize>,
}

/// A part of the process counts as busy until this is dropped.
#[derive(Debug)]
pub(crate) struct Busy(watch::Sender<usize>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.send_modify(|parts| *parts -= 1);
    }
}

impl Course {
    /// Follows what this sender sends.
    pub(crate) fn of(phase: &watch::Sender<Phase>) -> Self {
        Self {
            phase: phase.subscribe(),
            busy: watch::Sender::new(0),
        }
    }

    /// The phase now.
    pub(crate) fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Counts a part as busy.
    pub(crate) fn busy(&self) -> Busy {
        self.busy.send_modify(|parts| *parts += 1);
        Busy(self.busy.clone())
    }

    /// Resolves when no part is busy. Cancel safe.
    pub(crate) fn all_idle(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut busy = self.busy.subscribe();
        // The sender lives in every course, so the wait ends by what it waits for.
        async move { drop(busy.wait_for(|parts| *parts == 0).await) }
    }

    /// Resolves when this phase or a later one is reached, or when nobody can reach it any more.
    /// Cancel safe.
    pub(crate) fn reached(&self, phase: Phase) -> impl Future<Output = ()> + Send + use<> {
        let mut course = self.phase.clone();
        async move { drop(course.wait_for(|now| *now >= phase).await) }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    #[test]
    fn a_phase_is_reached_by_itself_and_by_later_ones() {
        let sender = watch::Sender::new(Phase::Ready);
        let course = Course::of(&sender);
        let mut context = Context::from_waker(Waker::noop());
        let mut ending = pin!(course.reached(Phase::Ending));
        assert!(ending.as_mut().poll(&mut context).is_pending());
        sender.send_replace(Phase::Draining);
        assert!(ending.as_mut().poll(&mut context).is_pending());
        let mut draining = pin!(course.reached(Phase::Draining));
        assert_eq!(draining.as_mut().poll(&mut context), Poll::Ready(()));
        sender.send_replace(Phase::Over);
        assert_eq!(ending.as_mut().poll(&mut context), Poll::Ready(()));
    }

    #[test]
    fn nobody_is_done_before_everybody_is_idle() {
        let sender = watch::Sender::new(Phase::Ending);
        let course = Course::of(&sender);
        let (first, second) = (course.busy(), course.busy());
        let mut context = Context::from_waker(Waker::noop());
        let mut idle = pin!(course.all_idle());
        assert!(idle.as_mut().poll(&mut context).is_pending());
        drop(first);
        assert!(idle.as_mut().poll(&mut context).is_pending());
        drop(second);
        assert!(idle.as_mut().poll(&mut context).is_ready());
    }

    #[test]
    fn a_course_that_nobody_steers_is_at_its_end() {
        let sender = watch::Sender::new(Phase::Ready);
        let course = Course::of(&sender);
        drop(sender);
        let mut context = Context::from_waker(Waker::noop());
        assert!(
            pin!(course.reached(Phase::Over))
                .poll(&mut context)
                .is_ready()
        );
    }
}

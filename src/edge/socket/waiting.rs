use super::{Injected, QUEUE_FULL, SteeredSocket};
use crate::steer::{Arrival, Verdict};
use crate::telemetry::HandedOver;

impl SteeredSocket {
    /// Sends early data on its way whose Initial has come since.
    pub(super) fn steer_waiting(&self) {
        for waited in self.steering.released() {
            self.steer_waited(waited);
        }
    }

    fn steer_waited(&self, waited: Injected) {
        let Injected {
            datagram,
            path,
            ecn,
        } = &waited;
        match self.steering.decide(datagram, path.source, Arrival::Direct) {
            Verdict::Forward(node) => {
                let one = datagram.chunks(datagram.len());
                self.steering.forward(node, one, *path, *ecn);
            }
            verdict @ Verdict::Accept(_) if self.is_own(verdict) => {
                if self.injector.try_send(waited).is_err() {
                    self.steering.count_drop(QUEUE_FULL);
                }
            }
            // Another worker waited for it.
            verdict @ Verdict::Accept(_) => {
                self.steering.hand_over(verdict, waited, HandedOver::WAITED);
            }
            _ => {}
        }
    }
}

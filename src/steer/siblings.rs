use super::Steer;
use crate::fleet::InstanceId;

impl Steer {
    /// Sets the other live processes of this node.
    #[must_use]
    pub fn with_siblings(mut self, siblings: impl IntoIterator<Item = InstanceId>) -> Self {
        self.view = self.view.with_siblings(siblings);
        self
    }
}

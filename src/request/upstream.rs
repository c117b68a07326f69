use std::sync::Arc;

/// The backend that answered, as `host:port`.
///
/// A handler puts it into the extensions of its response; it goes to the access log and never to the
/// client.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AnsweredBy(pub Arc<str>);

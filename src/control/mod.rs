//! Where a node's view of its fleet comes from.

mod instances;
mod key_file;
mod source;

pub use instances::{Birth, Entry, InstancesError, Lineage, NotABirth, Registration, Scan};
pub use key_file::{
    KeyFileError, read_key_file, read_key_record, replace_key_file, write_key_file,
};
pub use source::{Snapshot, SnapshotError, Source, StaticFiles};

//! The columns that tables have.

use super::findings::{Kind, summary};
use super::scale::{number, range};
use crate::bench::{Metric, Record};

/// A column: what it is called, and what it says of a record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    pub(super) title: &'static str,
    pub(super) value: fn(&Record) -> Option<String>,
}

/// The columns of the tables for a terminal, of which those without any value are left out.
pub(super) fn columns(kind: Kind) -> &'static [Column] {
    match kind {
        Kind::Handshake => HANDSHAKE,
        Kind::Move => MOVE,
        Kind::Load => LOAD,
        Kind::Floor => FLOOR,
    }
}

/// What a table of a kind is called.
pub(super) fn heading(kind: Kind) -> &'static str {
    match kind {
        Kind::Handshake => "Handshakes",
        Kind::Move => "Moves",
        Kind::Load => "Load",
        Kind::Floor => "Floor: both sides on one thread, without IO",
    }
}

pub(super) const KINDS: [Kind; 4] = [Kind::Handshake, Kind::Move, Kind::Load, Kind::Floor];

const SAMPLES: Column = Column {
    title: "n",
    value: |record| Some(record.samples.to_string()),
};
const LATE: Column = Column {
    title: "late",
    value: |record| (record.late > 0).then(|| record.late.to_string()),
};
const TRIPS: Column = Column {
    title: "round trips",
    value: trips,
};
const BYTES: Column = Column {
    title: "bytes c/n",
    value: |record| both(record, Metric::ClientBytes, Metric::NodeBytes),
};
const CPU_CLIENT: Column = Column {
    title: "CPU c µs",
    value: |record| p10(record, Metric::ClientCpu),
};
const CPU_NODE: Column = Column {
    title: "CPU n µs",
    value: |record| p10(record, Metric::NodeCpu),
};

const HANDSHAKE: &[Column] = &[
    SAMPLES,
    LATE,
    TRIPS,
    Column {
        title: "ready ms",
        value: |record| median(record, Metric::Ready),
    },
    Column {
        title: "complete ms",
        value: |record| median(record, Metric::Handshake),
    },
    Column {
        title: "first byte ms",
        value: |record| median(record, Metric::FirstByte),
    },
    Column {
        title: "95 %",
        value: |record| interval(record, Metric::FirstByte),
    },
    Column {
        title: "p99",
        value: |record| p99(record, Metric::FirstByte),
    },
    Column {
        title: "packets c/n",
        value: |record| both(record, Metric::ClientPackets, Metric::NodePackets),
    },
    BYTES,
    CPU_CLIENT,
    CPU_NODE,
];

const MOVE: &[Column] = &[
    SAMPLES,
    LATE,
    TRIPS,
    Column {
        title: "recovery ms",
        value: |record| median(record, Metric::Recovery),
    },
    Column {
        title: "95 %",
        value: |record| interval(record, Metric::Recovery),
    },
    Column {
        title: "p99",
        value: |record| p99(record, Metric::Recovery),
    },
    BYTES,
    CPU_CLIENT,
    CPU_NODE,
];

const LOAD: &[Column] = &[
    SAMPLES,
    Column {
        title: "handshakes/s",
        value: |record| median(record, Metric::HandshakeRate),
    },
    Column {
        title: "per core",
        value: |record| median(record, Metric::HandshakeRatePerCore),
    },
    Column {
        title: "latency ms",
        value: |record| median(record, Metric::Latency),
    },
    Column {
        title: "p99",
        value: |record| p99(record, Metric::Latency),
    },
    Column {
        title: "KiB a connection",
        value: |record| median(record, Metric::ConnectionMemory),
    },
    CPU_NODE,
];

const FLOOR: &[Column] = &[
    SAMPLES,
    CPU_CLIENT,
    CPU_NODE,
    Column {
        title: "c × crypto",
        value: |record| ratio(record, Metric::ClientFloorRatio),
    },
    Column {
        title: "n × crypto",
        value: |record| ratio(record, Metric::NodeFloorRatio),
    },
    Column {
        title: "allocations c/n",
        value: |record| both(record, Metric::ClientAllocations, Metric::NodeAllocations),
    },
    Column {
        title: "allocated bytes c/n",
        value: |record| both(record, Metric::ClientAllocated, Metric::NodeAllocated),
    },
];

/// `ready/handshake/first byte`.
fn trips(record: &Record) -> Option<String> {
    if record.derived.is_empty() {
        return None;
    }
    let trips = TRIPS_NAMES.map(|name| {
        let trips = record.derived.get(name);
        trips.map_or_else(|| "-".to_owned(), |trips| number(*trips))
    });
    Some(trips.join("/"))
}

fn median(record: &Record, metric: Metric) -> Option<String> {
    summary(record, metric).map(|figure| number(figure.median))
}

fn p10(record: &Record, metric: Metric) -> Option<String> {
    summary(record, metric).map(|figure| number(figure.p10))
}

fn p99(record: &Record, metric: Metric) -> Option<String> {
    summary(record, metric).map(|figure| number(figure.p99))
}

fn interval(record: &Record, metric: Metric) -> Option<String> {
    summary(record, metric).map(|figure| range(figure.median_interval))
}

fn ratio(record: &Record, metric: Metric) -> Option<String> {
    summary(record, metric).map(|figure| format!("{:.2}", figure.median))
}

fn both(record: &Record, client: Metric, node: Metric) -> Option<String> {
    let (client, node) = (median(record, client)?, median(record, node)?);
    Some(format!("{client}/{node}"))
}

const TRIPS_NAMES: [&str; 3] = [
    "round_trips_ready",
    "round_trips_handshake",
    "round_trips_first_byte",
];

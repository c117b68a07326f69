use super::findings::Findings;
use super::markup::Markup;
use super::tables::{by_factor, details, head, overview, table};
use super::{definition, doubts, facts, noise, sections, verdict};
use crate::bench::results::Results;
use crate::bench::{Metric, Mode};

/// Makes one HTML page of results, which needs nothing else: no network, no script, no other file.
pub fn page(results: &[Results]) -> String {
    let mut out = Markup::default();
    out.doctype();
    out.element("html", &[("lang", &"en")], |out| {
        out.element("head", &[], |out| {
            out.void("meta", &[("charset", &"utf-8")]);
            let scale = "width=device-width, initial-scale=1";
            out.void("meta", &[("name", &"viewport"), ("content", &scale)]);
            out.void(
                "meta",
                &[("name", &"color-scheme"), ("content", &"light dark")],
            );
            out.leaf("title", &[], TITLE);
            out.style(include_str!("style.css"));
        });
        out.element("body", &[], |out| body(out, results));
    });
    out.into_text()
}

fn body(out: &mut Markup, results: &[Results]) {
    let findings = Findings::of(results);
    out.element("header", &[], |out| {
        out.leaf("h1", &[], TITLE);
        for run in results.iter().filter_map(|results| results.run.as_ref()) {
            let command = run.command.join(" ");
            let (when, build) = (&run.started, &run.software.build);
            let words = format!("`{command}`, {when}, {build} build, seed {}", run.seed);
            out.element("p", &[("class", &"run")], |out| out.prose(&words));
        }
    });
    out.element("main", &[], |out| {
        summary(out, results);
        for Section {
            id,
            title,
            about,
            draw,
        } in SECTIONS
        {
            section(out, (id, title, about), |out| draw(out, results, &findings));
        }
    });
}

fn summary(out: &mut Markup, results: &[Results]) {
    out.element("section", &[("aria-labelledby", &"verdict")], |out| {
        out.leaf("h2", &[("id", &"verdict")], "Verdict");
        let sentences = verdict(results);
        if sentences.is_empty() {
            out.leaf("p", &[], "There is too little here to compare anything.");
        }
        for sentence in sentences {
            out.leaf("p", &[("class", &"verdict")], sentence);
        }
        out.leaf("p", &[("class", &"noise")], noise(results));
        let doubts = doubts(results);
        if !doubts.is_empty() {
            out.element("div", &[("class", &"doubts"), ("role", &"note")], |out| {
                out.leaf("h3", &[], "Doubts");
                out.element("ul", &[], |out| {
                    for doubt in doubts {
                        out.leaf("li", &[], doubt);
                    }
                });
            });
        }
    });
}

fn section(
    out: &mut Markup,
    (id, title, about): (&str, &str, &str),
    content: impl FnOnce(&mut Markup),
) {
    out.element("section", &[("aria-labelledby", &id)], |out| {
        out.leaf("h2", &[("id", &id)], title);
        if !about.is_empty() {
            out.element("p", &[], |out| out.prose(about));
        }
        content(out);
    });
}

/// What the names on this page mean: of figures and modes that it has.
fn definitions(out: &mut Markup, findings: &Findings<'_>) {
    let has = |metric: &&Metric| {
        let of = |record: &&&crate::bench::Record| record.metrics.contains_key(metric);
        findings.records.iter().any(|record| of(&record))
    };
    let measured = |mode: &&Mode| {
        let mut records = findings.records.iter();
        records.any(|record| record.scenario.mode == **mode)
    };
    let mut derived: Vec<_> = findings
        .records
        .iter()
        .flat_map(|record| record.derived.keys().map(String::as_str))
        .collect();
    derived.sort_unstable();
    derived.dedup();
    let metrics = Metric::ALL.iter().filter(has).map(|metric| metric.name());
    let modes = Mode::ALL.iter().filter(measured).map(|mode| mode.name());
    terms(out, "Figures", &metrics.chain(derived).collect::<Vec<_>>());
    terms(out, "Modes", &modes.collect::<Vec<_>>());
}

fn terms(out: &mut Markup, caption: &str, names: &[&str]) {
    table(out, caption, |out| {
        head(out, ["name", "what it is"].into_iter());
        out.element("tbody", &[], |out| {
            for name in names {
                out.element("tr", &[], |out| {
                    out.leaf("th", &[("scope", &"row")], name);
                    out.element("td", &[("class", &"words")], |out| {
                        out.prose(definition(name).unwrap_or_default());
                    });
                });
            }
        });
    });
}

/// A part of the page under a heading.
struct Section {
    id: &'static str,
    title: &'static str,
    about: &'static str,
    draw: fn(&mut Markup, &[Results], &Findings<'_>),
}

const TITLE: &str = "What a handshake costs: QUIC against TCP with TLS";

const SECTIONS: [Section; 13] = [
    Section {
        id: "overview-tables",
        title: "Overview",
        about: "Under the circumstances in each caption. Times are medians, processor time is the p10; `95 %` is \
            the interval of the median before it; c/n means client and node; round trips are those until ready, \
            handshake complete, and first byte.",
        draw: |out, _, findings| overview(out, findings),
    },
    Section {
        id: "packets",
        title: "Packets",
        about: "One sample of each mode as the link saw it. An arrow is a packet, from when it was sent to when \
            it arrived; a cross is one that was lost, and a line that ends half-way one that was still under way; a diamond is a \
            moment of the client.",
        draw: |out, results, _| sections::ladders(out, results),
    },
    Section {
        id: "round-trip-time",
        title: "First byte over the round-trip time",
        about: "A line's slope is the number of round trips until the first byte of the response, and its height \
            at zero what both hosts need by themselves. Lines of modes with as many round trips lie on each other.",
        draw: |out, _, findings| sections::first_byte(out, findings),
    },
    Section {
        id: "processor-time",
        title: "Processor time",
        about: "Without IO, a TLS handshake is its cryptography and the rest of TLS, and a QUIC handshake is all \
            that and the transport. Where a session is resumed, the cryptography is a part of TLS that is \
            not measured apart. TCP's own work is the kernel's, so it shows only over a network.",
        draw: |out, _, findings| sections::processor(out, findings),
    },
    Section {
        id: "certificates",
        title: "The certificate-size cliff",
        about: "Before it knows that the client's address is real, a node may send three times what it received \
            (RFC 9000, section 8.1). A longer certificate chain waits for one more round trip. TCP has proven \
            the address before, and has its own limit, the initial window. Rows are in the order of the bytes \
            that the node sends over QUIC until the handshake is complete.",
        draw: |out, _, findings| sections::credentials(out, findings),
    },
    Section {
        id: "moves",
        title: "Recovery after a move",
        about: "From the moment of the move to the first byte of a response after it. QUIC goes on with the \
            connection that it has; over TCP the client makes another one.",
        draw: |out, _, findings| sections::recovery(out, findings),
    },
    Section {
        id: "packet-loss",
        title: "Loss",
        about: "A full handshake when packets are lost. A lost first packet costs each transport its first \
            timeout, which no round-trip time shortens.",
        draw: |out, _, findings| sections::loss(out, findings),
    },
    Section {
        id: "rates",
        title: "Load",
        about: "",
        draw: |out, _, findings| sections::load(out, findings),
    },
    Section {
        id: "factors",
        title: "All scenarios",
        about: "A factor without a word has the value in the caption.",
        draw: |out, _, findings| by_factor(out, findings),
    },
    Section {
        id: "figures",
        title: "All figures",
        about: "",
        draw: |out, _, findings| details(out, findings),
    },
    Section {
        id: "machine",
        title: "Machine and setting",
        about: "",
        draw: |out, results, _| facts::facts(out, results),
    },
    Section {
        id: "definitions",
        title: "Definitions",
        about: "",
        draw: |out, _, findings| definitions(out, findings),
    },
    Section {
        id: "again",
        title: "Measure it again",
        about: "Each command above repeats its run, with its seed. The files beside this page have every \
            sample; `wayhold bench compare` sets two runs against each other, and `docs/bench.md` explains \
            the method and its limits.",
        draw: |_, _, _| {},
    },
];

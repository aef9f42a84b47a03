//! The house rules that a compiler does not hold: who may use whom, who may touch the outside world,
//! how long files and functions get, and that the documents keep up.
#![expect(clippy::disallowed_methods, reason = "reads the sources")]
#![expect(
    clippy::unwrap_used,
    reason = "a proof that cannot be set up has failed"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use ferrolb_tests::programs;

/// One row of the layering table: a module may use what is listed, itself and what lies below it.
struct Row {
    /// A module, or with `::*` everything below it.
    module: &'static str,
    /// Modules of the workspace, in the same notation.
    uses: &'static [&'static str],
    /// Other crates, beside [`EVERYWHERE`].
    crates: &'static [&'static str],
}

/// Vocabulary rather than dependencies.
const EVERYWHERE: &[&str] = &["std", "core", "ipnet", "thiserror"];

/// `docs/style.md`, "Arrows". The longest match counts; a module without a row is an error.
const ARROWS: &[Row] = &[
    row("crds", &["crds::*"], &[]),
    row("crds::model", &["crds::model::*"], &[]),
    row("crds::model::*", &["crds::model", "crds::model::*"], &[]),
    row(
        "crds::api",
        &["crds::api::*", "crds::model"],
        &["serde", "serde_json", "schemars", "k8s_openapi"],
    ),
    row(
        "crds::api::*",
        &["crds::api", "crds::api::*"],
        &["serde", "serde_json", "schemars", "k8s_openapi"],
    ),
    row(
        "crds::validate",
        VALIDATE,
        &["serde", "serde_json", "schemars"],
    ),
    row(
        "crds::validate::*",
        VALIDATE,
        &["serde", "serde_json", "schemars"],
    ),
    row(
        "crds::store",
        &[
            "crds::api",
            "crds::api::*",
            "crds::model",
            "crds::validate",
            "crds::validate::*",
            "crds::source",
        ],
        &[],
    ),
    row("crds::source", &["crds::model", "crds::source::*"], &[]),
    row(
        "crds::source::resource",
        &["crds::model", "crds::api", "crds::api::*", "crds::validate"],
        RESOURCE,
    ),
    row("crds::source::kubernetes", &["crds::*"], KUBERNETES),
    row("crds::source::kubernetes::*", &["crds::*"], KUBERNETES),
    row(
        "crds::source::manifests",
        &["crds::*"],
        &[
            "serde",
            "serde_json",
            "serde_yaml",
            "serde_path_to_error",
            "notify",
            "tokio",
            "tracing",
        ],
    ),
    row(
        "crds::source::manifests::*",
        &["crds::*"],
        &[
            "serde",
            "serde_json",
            "serde_yaml",
            "serde_path_to_error",
            "notify",
            "tokio",
            "tracing",
            "k8s_openapi",
        ],
    ),
    row(
        "crds::source::manifests::defaults",
        PURE_SOURCE,
        &["serde_json", "k8s_openapi"],
    ),
    row(
        "crds::source::manifests::marks",
        PURE_SOURCE,
        &["saphyr_parser"],
    ),
    row(
        "crds::state",
        &["crds::model", "crds::api", "crds::api::*", "crds::parallel"],
        &["serde", "serde_json", "serde_yaml"],
    ),
    row(
        "crds::store::*",
        &["crds::store", "crds::model", "crds::api"],
        &[],
    ),
    row(
        "crds::definition",
        DEFINITION,
        &["serde_json", "serde_yaml", "schemars"],
    ),
    row("crds::definition::*", DEFINITION, &["serde_json"]),
    row(
        "crds::bin::crdgen",
        &["crds::definition"],
        &["ferrolb_crds"],
    ),
    row("crds::parallel", &[], &[]),
    row("crds::rank", &[], &["ring"]),
    row("crds::duration", &[], &[]),
    row("crds::pace", &[], &[]),
    row(
        "crds::serve",
        &[],
        &["http_body_util", "hyper", "hyper_util", "tokio", "tracing"],
    ),
    row(
        "crds::state::*",
        &["crds::state", "crds::state::*", "crds::model", "crds::api"],
        &["serde", "serde_yaml"],
    ),
    row("controller", &["controller::*"], &[]),
    row(
        "controller::allocator",
        &["controller::allocator::*", "crds::model"],
        &[],
    ),
    row(
        "controller::allocator::*",
        &[
            "controller::allocator",
            "controller::allocator::*",
            "crds::model",
        ],
        &[],
    ),
    row(
        "controller::decide",
        &[
            "controller::decide::*",
            "controller::allocator",
            "controller::allocator::*",
            "crds::model",
        ],
        &[],
    ),
    row(
        "controller::decide::*",
        &[
            "controller::decide",
            "controller::decide::*",
            "controller::allocator",
            "controller::allocator::*",
            "crds::model",
        ],
        &[],
    ),
    row("controller::reconcile", RECONCILE, &[]),
    row(
        "controller::cluster",
        ANYTHING_CONTROLLER,
        &["anyhow", "tokio", "tracing"],
    ),
    row(
        "controller::cluster::*",
        ANYTHING_CONTROLLER,
        &["kube", "k8s_openapi", "serde_json", "ring", "tokio"],
    ),
    row(
        "controller::events",
        &[
            "controller::decide",
            "controller::reconcile",
            "crds::api",
            "crds::model",
            "crds::pace",
        ],
        &[],
    ),
    row("controller::lease", &["crds::model"], &[]),
    row("controller::placement", &["crds::model", "crds::rank"], &[]),
    row(
        "controller::metrics",
        &["controller::allocator", "controller::reconcile"],
        &["prometheus"],
    ),
    row(
        "controller::office",
        &[
            "controller::events",
            "controller::lease",
            "controller::ledger",
            "controller::publication",
            "controller::reconcile",
            "crds::model",
            "crds::source",
            "crds::source::kubernetes",
        ],
        &[],
    ),
    row(
        "controller::pools",
        &["controller::reconcile", "crds::api"],
        &[],
    ),
    row(
        "controller::publication::*",
        &[
            "controller::reconcile",
            "crds::model",
            "crds::source::kubernetes",
        ],
        &[],
    ),
    row(
        "controller::publication",
        &[
            "controller::publication::*",
            "controller::ledger",
            "controller::lease",
            "controller::reconcile",
            "crds::model",
            "crds::source::kubernetes",
        ],
        &[],
    ),
    row(
        "controller::ledger",
        &["controller::reconcile", "crds::model"],
        &[],
    ),
    row(
        "controller::status",
        &[
            "controller::ledger",
            "controller::reconcile",
            "crds::model",
            "crds::state",
        ],
        &["tracing"],
    ),
    row("controller::reconcile::*", RECONCILE, &[]),
    row(
        "controller::telemetry",
        &[],
        &["tracing", "tracing_subscriber", "anyhow"],
    ),
    row(
        "controller::verdict",
        &["crds::api", "crds::validate"],
        &["serde_json"],
    ),
    row(
        "controller::plan",
        ANYTHING_CONTROLLER,
        &["serde", "serde_json", "anyhow"],
    ),
    row(
        "controller::cli",
        ANYTHING_CONTROLLER,
        &["clap", "anyhow", "tracing"],
    ),
    row(
        "controller::run",
        ANYTHING_CONTROLLER,
        &["anyhow", "tokio", "tracing", "serde_json"],
    ),
    row(
        "controller::main",
        ANYTHING_CONTROLLER,
        &["ferrolb_controller", "anyhow", "clap", "tokio", "tracing"],
    ),
    row("speaker", &["speaker::*"], &[]),
    row("speaker::timer", &[], &[]),
    row("speaker::backoff", &[], &["fastrand"]),
    row("speaker::wire", &["speaker::wire::*"], &["pnet_packet"]),
    row(
        "speaker::wire::*",
        &["speaker::wire", "speaker::wire::*"],
        &["pnet_packet"],
    ),
    row("speaker::bfd", &["speaker::bfd::*"], &[]),
    row("speaker::bfd::*", BFD_CORE, &["fastrand"]),
    row(
        "speaker::bfd::socket",
        BFD_ALL,
        &["fastrand", "libc", "nix", "socket2", "tokio"],
    ),
    row(
        "speaker::bfd::socket::*",
        BFD_ALL,
        &["libc", "nix", "socket2", "tokio"],
    ),
    row(
        "speaker::bfd::driver",
        BFD_ALL,
        &["fastrand", "tokio", "tracing"],
    ),
    row("speaker::bfd::driver::*", BFD_ALL, &["tracing"]),
    row("speaker::bgp", &["speaker::bgp::*", "crds::model"], &[]),
    row("speaker::bgp::message", BGP_CORE, &[]),
    row("speaker::bgp::notification", BGP_CORE, &[]),
    row("speaker::bgp::codec::compose", BGP_CORE, &["zettabgp"]),
    row("speaker::bgp::*", BGP_CORE, &["fastrand"]),
    row(
        "speaker::bgp::socket",
        BGP_CORE,
        &["socket2", "tokio", "libc"],
    ),
    row("speaker::bgp::socket::*", BGP_ALL, &["socket2", "libc"]),
    row(
        "speaker::bgp::driver",
        BGP_ALL,
        &["tokio", "tracing", "fastrand"],
    ),
    row("speaker::bgp::driver::*", BGP_ALL, &["tokio", "tracing"]),
    row("speaker::bmp", &["speaker::bmp::*", "speaker::bgp"], &[]),
    row("speaker::bmp::*", BMP_CORE, &["fastrand"]),
    row(
        "speaker::bmp::driver",
        BMP_CORE,
        &["fastrand", "socket2", "tokio", "tracing"],
    ),
    row("speaker::bmp::driver::*", BMP_CORE, &["tokio"]),
    row(
        "speaker::layer2",
        &["speaker::layer2::*", "crds::model"],
        &[],
    ),
    row("speaker::layer2::*", LAYER2_CORE, &["ring", "fastrand"]),
    row(
        "speaker::layer2::exclusion",
        &[],
        &["regex", "serde", "serde_yaml"],
    ),
    row(
        "speaker::layer2::interfaces",
        LAYER2_CORE,
        &[
            "rtnetlink",
            "netlink_packet_core",
            "netlink_packet_route",
            "futures_util",
            "tokio",
            "tracing",
        ],
    ),
    row(
        "speaker::layer2::socket",
        &[
            "speaker::layer2",
            "speaker::layer2::filter",
            "speaker::layer2::heartbeat",
            "speaker::wire::ethernet",
            "speaker::wire::ndisc",
        ],
        &["tokio", "socket2", "libc", "tracing"],
    ),
    row("speaker::layer2::driver", LAYER2_ALL, &["tokio", "tracing"]),
    row("speaker::nft", &["speaker::nft::*", "crds::model"], &[]),
    row(
        "speaker::nft::*",
        &["speaker::nft", "speaker::nft::*", "crds::model"],
        &["serde", "serde_json"],
    ),
    row(
        "speaker::nft::driver",
        &[
            "speaker::nft",
            "speaker::nft::*",
            "speaker::backoff",
            "crds::model",
        ],
        &["tokio", "tracing", "serde_json", "fastrand", "rtnetlink"],
    ),
    row(
        "speaker::nft::interfaces",
        &["speaker::nft", "speaker::nft::ruleset", "crds::model"],
        &[
            "rtnetlink",
            "netlink_packet_core",
            "netlink_packet_route",
            "futures_util",
            "tokio",
            "tracing",
        ],
    ),
    row(
        "speaker::metrics",
        &[
            "speaker::bfd",
            "speaker::bgp",
            "speaker::layer2",
            "speaker::layer2::tally",
            "speaker::plan",
            "speaker::world",
            "crds::model",
        ],
        &["prometheus"],
    ),
    row(
        "speaker::reports",
        REPORTS,
        &["serde", "serde_json", "ring"],
    ),
    row(
        "speaker::reports::*",
        REPORTS,
        &["serde", "serde_json", "ring"],
    ),
    row(
        "speaker::reports::driver",
        &[
            "speaker::reports",
            "speaker::reports::*",
            "speaker::backoff",
            "speaker::status",
            "crds::api",
            "crds::model",
            "crds::pace",
            "crds::source",
            "crds::source::kubernetes::*",
        ],
        &[
            "fastrand",
            "http",
            "k8s_openapi",
            "kube",
            "serde",
            "serde_json",
            "tokio",
            "tracing",
        ],
    ),
    row("speaker::delivery", &[], &[]),
    row("speaker::drain", &["speaker::world", "crds::model"], &[]),
    row(
        "speaker::delivery::driver",
        &["speaker::delivery"],
        &["tokio", "tracing"],
    ),
    row("speaker::radv", &["speaker::radv::*"], &[]),
    row("speaker::radv::link", &[], &["fastrand"]),
    row(
        "speaker::radv::socket",
        &["speaker::radv::link", "speaker::wire::*"],
        &["libc", "nix", "socket2", "tokio"],
    ),
    row(
        "speaker::radv::driver",
        &["speaker::radv", "speaker::radv::*", "speaker::wire::*"],
        &["fastrand", "tokio", "tracing"],
    ),
    row("speaker::router_config", ROUTER_CONFIG, &[]),
    row("speaker::router_config::*", ROUTER_CONFIG, &[]),
    row(
        "speaker::router_config::driver",
        &[
            "speaker::router_config",
            "speaker::status",
            "crds::source",
            "crds::source::kubernetes",
            "crds::source::manifests",
        ],
        &["anyhow", "tokio"],
    ),
    row(
        "speaker::lookout",
        &["speaker::reports", "crds::model"],
        &[],
    ),
    row(
        "speaker::lookout::driver",
        &[
            "speaker::lookout",
            "speaker::reports",
            "crds::api",
            "crds::source::kubernetes::*",
        ],
        &["kube", "serde_json", "tokio"],
    ),
    row("speaker::world", WORLD, &[]),
    row("speaker::world::*", WORLD, &[]),
    row("speaker::plan", PLAN, &[]),
    row("speaker::plan::*", PLAN, &[]),
    row(
        "speaker::status",
        ANYTHING_SPEAKER,
        &[
            "serde",
            "serde_json",
            "serde_yaml",
            "socket2",
            "tokio",
            "anyhow",
            "tracing",
        ],
    ),
    row(
        "speaker::status::*",
        ANYTHING_SPEAKER,
        &[
            "serde",
            "serde_json",
            "serde_yaml",
            "tokio",
            "anyhow",
            "tracing",
        ],
    ),
    row(
        "speaker::status::scribe",
        &[],
        &["anyhow", "libc", "tokio", "tracing"],
    ),
    row(
        "speaker::telemetry",
        &[],
        &["tracing", "tracing_subscriber", "anyhow"],
    ),
    row(
        "speaker::cli",
        ANYTHING_SPEAKER,
        &["clap", "anyhow", "tracing"],
    ),
    row("speaker::cli::*", &["speaker::cli", "crds::api"], &["clap"]),
    row(
        "speaker::cli::router_config",
        &[
            "speaker::cli",
            "speaker::router_config",
            "speaker::router_config::driver",
            "crds::api",
        ],
        &["clap"],
    ),
    row(
        "speaker::run",
        ANYTHING_SPEAKER,
        &[
            "tokio",
            "anyhow",
            "tracing",
            "serde_json",
            "fastrand",
            "kube",
        ],
    ),
    row(
        "speaker::run::*",
        ANYTHING_SPEAKER,
        &[
            "tokio",
            "anyhow",
            "tracing",
            "serde_json",
            "fastrand",
            "kube",
        ],
    ),
    row(
        "speaker::main",
        ANYTHING_SPEAKER,
        &["ferrolb_speaker", "anyhow", "clap", "tokio", "tracing"],
    ),
];

const VALIDATE: &[&str] = &[
    "crds::duration",
    "crds::api",
    "crds::api::*",
    "crds::model",
    "crds::model::*",
    "crds::validate",
    "crds::validate::*",
];
const DEFINITION: &[&str] = &[
    "crds::api",
    "crds::api::*",
    "crds::definition",
    "crds::definition::*",
];
const RESOURCE: &[&str] = &["k8s_openapi", "serde", "serde_json"];
const KUBERNETES: &[&str] = &[
    "hyper",
    "k8s_openapi",
    "kube",
    "serde",
    "serde_json",
    "fastrand",
    "futures_util",
    "tokio",
    "tracing",
];
const PURE_SOURCE: &[&str] = &["crds::model", "crds::api", "crds::api::*"];
const RECONCILE: &[&str] = &[
    "controller::allocator",
    "controller::allocator::*",
    "controller::decide",
    "controller::decide::*",
    "controller::placement",
    "controller::reconcile",
    "controller::reconcile::*",
    "crds::model",
    "crds::source",
    "crds::state",
];
const ANYTHING_CONTROLLER: &[&str] = &["controller::*", "crds::*"];
const BFD_CORE: &[&str] = &[
    "speaker::bfd",
    "speaker::bfd::allowance",
    "speaker::bfd::demultiplexer",
    "speaker::bfd::echo",
    "speaker::bfd::filter",
    "speaker::bfd::packet",
    "speaker::bfd::session",
    "speaker::bfd::session::*",
    "speaker::bfd::sessions",
    "speaker::timer",
    "speaker::wire",
];
const BFD_ALL: &[&str] = &["speaker::bfd", "speaker::bfd::*", "crds::model"];
const BGP_CORE: &[&str] = &[
    "speaker::bgp",
    "speaker::bgp::message",
    "speaker::bgp::notification",
    "speaker::bgp::codec",
    "speaker::bgp::codec::*",
    "speaker::bgp::connection",
    "speaker::bgp::connection::*",
    "speaker::bgp::peer",
    "speaker::bgp::adj_rib_out",
    "speaker::timer",
    "speaker::backoff",
    "speaker::wire",
    "crds::model",
];
const BGP_ALL: &[&str] = &[
    "speaker::bgp",
    "speaker::bgp::*",
    "speaker::timer",
    "speaker::backoff",
    "crds::model",
];
/// What stations are told is composed as it is for peers.
const BMP_CORE: &[&str] = &[
    "speaker::bmp",
    "speaker::bmp::codec",
    "speaker::bmp::news",
    "speaker::bmp::station",
    "speaker::bgp",
    "speaker::bgp::adj_rib_out",
    "speaker::bgp::message",
    "speaker::timer",
    "speaker::backoff",
    "crds::model",
];
const LAYER2_CORE: &[&str] = &[
    "speaker::layer2",
    "speaker::layer2::responder",
    "speaker::layer2::station",
    "speaker::layer2::announcer",
    "speaker::layer2::claims",
    "speaker::layer2::conflict",
    "speaker::layer2::heartbeat",
    "speaker::layer2::exclusion",
    "speaker::layer2::liveness",
    "speaker::layer2::pace",
    "speaker::layer2::tally",
    "speaker::timer",
    "speaker::backoff",
    "speaker::wire",
    "speaker::wire::*",
    "crds::model",
];
const LAYER2_ALL: &[&str] = &[
    "speaker::layer2",
    "speaker::layer2::*",
    "speaker::timer",
    "speaker::backoff",
    "speaker::wire",
    "speaker::wire::*",
    "crds::model",
];
/// The world is told what layer 2 reports; it knows the report's type and no machine.
const WORLD: &[&str] = &[
    "speaker::layer2",
    "speaker::world",
    "speaker::world::*",
    "crds::model",
    "crds::source",
];
/// The plan names the desired states that machines take, which are data; it knows no machine.
const PLAN: &[&str] = &[
    "speaker::plan",
    "speaker::plan::*",
    "speaker::world",
    "speaker::world::*",
    "speaker::layer2",
    "speaker::bgp",
    "speaker::nft",
    "crds::model",
    "crds::rank",
];
/// The same objects in the words of a router; it knows neither plan nor machine.
const ROUTER_CONFIG: &[&str] = &[
    "speaker::router_config",
    "speaker::router_config::*",
    "crds::model",
    "crds::source",
];
/// What is reported is made of what is planned, and knows no machine either.
const REPORTS: &[&str] = &[
    "speaker::reports",
    "speaker::reports::*",
    "speaker::plan",
    "speaker::world",
    "crds::api",
    "crds::api::*",
    "crds::model",
    "crds::validate",
];
const ANYTHING_SPEAKER: &[&str] = &["speaker::*", "crds::*"];

const fn row(
    module: &'static str,
    uses: &'static [&'static str],
    crates: &'static [&'static str],
) -> Row {
    Row {
        module,
        uses,
        crates,
    }
}

#[test]
fn modules_use_only_what_lies_below_them() {
    let sources = sources();
    let modules: BTreeSet<&str> = sources
        .iter()
        .map(|source| source.module.as_str())
        .collect();
    let mut wrong = Vec::new();
    for source in &sources {
        let Some(row) = row_of(&source.module) else {
            wrong.push(format!("{} has no row in the table", source.module));
            continue;
        };
        for path in source.references() {
            if !is_allowed(row, source, &path, &modules) {
                wrong.push(format!("{} uses {path}", source.module));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "against the arrows:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn every_row_of_the_table_is_needed() {
    let sources = sources();
    let used: BTreeSet<&str> = sources
        .iter()
        .filter_map(|source| row_of(&source.module))
        .map(|row| row.module)
        .collect();
    let idle: Vec<&str> = ARROWS
        .iter()
        .map(|row| row.module)
        .filter(|row| !used.contains(row))
        .collect();
    assert!(idle.is_empty(), "rows without a module: {idle:?}");
}

#[test]
fn only_drivers_touch_the_outside_world() {
    const OUTSIDE: &[&str] = &[
        "tokio::",
        "kube::",
        "socket2::",
        "std::fs",
        "std::process",
        "std::thread",
        "TcpStream",
        "TcpListener",
        "UdpSocket",
        "UnixStream",
        "UnixListener",
        "Instant::now",
        "SystemTime::now",
    ];
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|source| !source.is_driver()) {
        for name in OUTSIDE.iter().filter(|name| source.code.contains(*name)) {
            wrong.push(format!("{} names {name}", source.path.display()));
        }
    }
    assert!(
        wrong.is_empty(),
        "pure code touches the world:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn only_the_codec_names_zettabgp() {
    for source in sources() {
        let is_codec = source.module == "speaker::bgp::codec::compose";
        assert!(
            is_codec || !source.code.contains("zettabgp"),
            "{}",
            source.module
        );
    }
}

#[test]
fn controller_and_speaker_do_not_know_each_other() {
    for (own, other) in [
        ("controller", "ferrolb-speaker"),
        ("speaker", "ferrolb-controller"),
        ("crds", "ferrolb-"),
    ] {
        let manifest = read(&programs::workspace().join(own).join("Cargo.toml"));
        let dependencies = manifest.split("[dependencies]").nth(1).unwrap_or_default();
        assert!(!dependencies.contains(other), "{own} depends on {other}…");
    }
}

#[test]
fn files_and_functions_stay_readable() {
    let mut wrong = Vec::new();
    for source in sources() {
        let lines = source.text.lines().count();
        if lines > 900 {
            wrong.push(format!("{} has {lines} lines", source.path.display()));
        }
        for (name, lines) in long_functions(&source.text) {
            wrong.push(format!(
                "{}: {name} has {lines} lines",
                source.path.display()
            ));
        }
        if source.path.ends_with("main.rs") && lines > 60 {
            wrong.push(format!("{} has {lines} lines", source.path.display()));
        }
    }
    assert!(wrong.is_empty(), "too long:\n{}", wrong.join("\n"));
}

#[test]
fn every_file_says_what_it_is() {
    for path in all_files(programs::workspace(), "rs") {
        assert!(
            !path.ends_with("mod.rs"),
            "{}: foo.rs and foo/, no mod.rs",
            path.display()
        );
        // A tests.rs says it by the file it lies beside.
        if !path.ends_with("tests.rs") {
            let text = read(&path);
            assert!(
                text.starts_with("//!"),
                "{} has no module doc",
                path.display()
            );
        }
    }
}

#[test]
fn nothing_is_left_for_later_or_tied_to_a_machine() {
    // Put together here, so that this file does not find itself.
    let words = [
        ["TO", "DO"],
        ["FIX", "ME"],
        ["/ho", "me/"],
        ["/wo", "rk/"],
        ["/ro", "ot/"],
    ]
    .map(|parts| parts.concat());
    let mut wrong = Vec::new();
    for extension in ["rs", "md", "toml", "yaml", "sh"] {
        for path in all_files(programs::workspace(), extension) {
            let text = read(&path);
            for word in words.iter().filter(|word| text.contains(*word)) {
                wrong.push(format!("{}: {word}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A reason is a constant that people search for: `Self::X => "x"` in the two files that name them.
#[test]
fn every_reason_is_explained_to_operators() {
    let docs: String = all_files(&programs::workspace().join("docs"), "md")
        .iter()
        .filter(|path| {
            path.file_name()
                .unwrap()
                .to_string_lossy()
                .starts_with("operating")
        })
        .map(|path| read(path))
        .collect();
    for file in [
        "controller/src/decide.rs",
        "speaker/src/plan/eligibility.rs",
    ] {
        let text = without_tests(&read(&programs::workspace().join(file)));
        let arms = text
            .lines()
            .filter(|line| line.trim().starts_with("Self::"));
        let reasons: Vec<&str> = arms.filter_map(|line| line.split('"').nth(1)).collect();
        assert!(reasons.len() > 5, "{file} names {reasons:?}");
        // Decisions are the contract's words and no reasons.
        let decisions = ["Keep", "Assign", "Clear", "Refuse", "Ignore"];
        let is_reason = |word: &&&str| !word.contains(' ') && !decisions.contains(word);
        for reason in reasons.iter().filter(is_reason) {
            assert!(
                docs.contains(reason),
                "{reason} of {file} is in no docs/operating*.md"
            );
        }
    }
}

#[test]
fn the_rfc_table_mentions_every_rfc_that_the_code_cites() {
    let table = read(&programs::workspace().join("docs/rfc.md"));
    let mut missing = BTreeMap::new();
    for source in sources() {
        for number in cited(&source.text) {
            if !table.contains(&number) {
                missing.insert(number, source.module.clone());
            }
        }
    }
    assert!(missing.is_empty(), "not in docs/rfc.md: {missing:?}");
}

/// MetalLB's end-to-end list from F on, by letter and last number.
const CHECKLIST: [(char, u32); 7] = [
    ('f', 81),
    ('g', 6),
    ('h', 8),
    ('i', 16),
    ('j', 14),
    ('k', 9),
    ('l', 6),
];

#[test]
fn every_id_of_the_checklist_is_in_a_test_s_name_or_told_why_not() {
    let mut proved = BTreeSet::new();
    for path in all_files(programs::workspace(), "rs") {
        // Elsewhere such ids are invariants.
        let has_list_i = path.ends_with("netns_bgp_policy.rs");
        for name in tests_of(&read(&path)) {
            let ids = ids(&name.split('_').collect::<Vec<_>>());
            proved.extend(
                ids.into_iter()
                    .filter(|(list, _)| has_list_i || *list != 'i'),
            );
        }
    }
    let document = read(&programs::workspace().join("docs/testing.md"));
    let (_, unproved) = document.split_once("### Not proved").unwrap();
    let mut told = BTreeSet::new();
    for row in unproved
        .lines()
        .filter(|line| line.starts_with("| F") || line.starts_with("| L"))
    {
        let cell = row.split('|').nth(1).unwrap().to_lowercase();
        let words = cell.replace('–', " to ").replace(',', " ");
        told.extend(ids(&words.split_whitespace().collect::<Vec<_>>()));
    }
    let all = CHECKLIST
        .iter()
        .flat_map(|(list, last)| (1..=*last).map(|number| (*list, number)));
    let missing: Vec<_> = all
        .filter(|id| !proved.contains(id) && !told.contains(id))
        .collect();
    assert!(missing.is_empty(), "in no test's name: {missing:?}");
    let both: Vec<_> = proved.intersection(&told).collect();
    assert!(both.is_empty(), "proved, and said not to be: {both:?}");
}

#[test]
fn every_proof_of_interoperability_exists() {
    let document = read(&programs::workspace().join("docs/interop.md"));
    let mut names: BTreeSet<&str> = document.split('`').skip(1).step_by(2).collect();
    names.retain(|name| name.contains("::"));
    assert!(names.len() > 10, "{names:?}");
    for name in names {
        let (file, beginning) = name.split_once("::").unwrap();
        let path = programs::workspace().join(format!("tests/tests/{file}.rs"));
        let text = read(&path);
        let tests = tests_of(&text);
        let found = match beginning.strip_suffix('…') {
            Some(beginning) => tests
                .iter()
                .filter(|test| test.starts_with(beginning))
                .count(),
            None => tests.iter().filter(|test| **test == beginning).count(),
        };
        assert_eq!(found, 1, "{name}");
    }
}

/// The names of the tests of a file.
fn tests_of(text: &str) -> Vec<&str> {
    let parts = text.split("test]\n").skip(1);
    // Between the two there may be other attributes.
    parts
        .filter_map(|part| part.split_once("fn ")?.1.split('(').next())
        .collect()
}

/// The ids that a name or a list begins with: `f1 to f5 f9` are six.
fn ids(words: &[&str]) -> BTreeSet<(char, u32)> {
    let id = |word: &str| {
        let list = word.chars().next()?;
        let number = word.get(1..)?.parse().ok()?;
        Some((list, number))
    };
    let mut found = BTreeSet::new();
    let mut from = None;
    for word in words {
        let Some((list, number)) = id(word) else {
            match *word {
                "to" => {
                    from = found.last().copied();
                    continue;
                }
                _ => break,
            }
        };
        let first = match from.take() {
            Some((same, first)) if same == list => first,
            _ => number,
        };
        found.extend((first..=number).map(|number| (list, number)));
    }
    found
}

/// A source file as it ships: without its tests.
struct Source {
    path: PathBuf,
    module: String,
    /// Without the test module at its end.
    text: String,
    /// Without comments and string literals either.
    code: String,
}

impl Source {
    fn read(root: &Path, krate: &str, path: PathBuf) -> Self {
        let relative = path.strip_prefix(root).unwrap().with_extension("");
        let mut module = krate.to_owned();
        for part in relative.iter().map(|part| part.to_string_lossy()) {
            if part != "lib" {
                module = format!("{module}::{part}");
            }
        }
        let text = without_tests(&read(&path));
        let code = without_words(&text);
        Self {
            path,
            module,
            text,
            code,
        }
    }

    /// The few places that are meant to touch the outside world.
    fn is_driver(&self) -> bool {
        let parts: Vec<&str> = self.module.split("::").collect();
        let names = [
            "driver",
            "run",
            "serve",
            "state",
            "interfaces",
            "socket",
            "main",
            "status",
            "telemetry",
            "parallel",
            "cluster",
            "crdgen",
            "serve",
        ];
        let is_manifests = self.module.starts_with("crds::source::manifests")
            && !["defaults", "marks", "settle"].contains(parts.last().unwrap());
        let is_kubernetes = self.module.starts_with("crds::source::kubernetes")
            && *parts.last().unwrap() != "collector";
        is_manifests || is_kubernetes || parts.iter().any(|part| names.contains(part))
    }

    /// Every path it names, spelled from the crate's root: `speaker::bgp::Settings`, `tokio::time`.
    fn references(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for tree in uses(&self.code) {
            found.insert(tree);
        }
        let is_path = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == ':';
        for word in self.code.split(|letter| !is_path(letter)) {
            if word.contains("::") && word.starts_with(|letter: char| letter.is_ascii_lowercase()) {
                found.insert(word.trim_end_matches(':').to_owned());
            }
        }
        let absolute = found.iter().filter_map(|path| self.absolute(path));
        absolute.collect()
    }

    fn absolute(&self, path: &str) -> Option<String> {
        let krate = self.module.split("::").next().unwrap();
        let (first, rest) = path.split_once("::").unwrap_or((path, ""));
        let joined = |base: &str| format!("{base}::{rest}").trim_end_matches(':').to_owned();
        match first {
            "crate" => Some(joined(krate)),
            "self" => Some(joined(&self.module)),
            "super" => {
                let (parent, _) = self.module.rsplit_once("::")?;
                match rest.strip_prefix("super::") {
                    Some(rest) => Some(format!("{}::{rest}", parent.rsplit_once("::")?.0)),
                    None => Some(joined(parent)),
                }
            }
            "ferrolb_crds" => Some(joined("crds")),
            _ => KNOWN.contains(&first).then(|| path.to_owned()),
        }
    }
}

/// Crates whose use the table rules; another first word of a path is a module in scope.
const KNOWN: &[&str] = &[
    "anyhow",
    "clap",
    "fastrand",
    "ferrolb_controller",
    "ferrolb_speaker",
    "futures_util",
    "http",
    "http_body_util",
    "hyper",
    "hyper_util",
    "k8s_openapi",
    "kube",
    "libc",
    "netlink_packet_core",
    "netlink_packet_route",
    "nix",
    "notify",
    "pnet_packet",
    "prometheus",
    "ring",
    "rtnetlink",
    "saphyr_parser",
    "schemars",
    "serde",
    "serde_json",
    "serde_path_to_error",
    "serde_yaml",
    "socket2",
    "tokio",
    "tracing",
    "tracing_subscriber",
    "zettabgp",
];

fn row_of(module: &str) -> Option<&'static Row> {
    let rows = ARROWS.iter().filter(|row| matches(row.module, module));
    rows.max_by_key(|row| {
        (
            row.module.trim_end_matches("::*").len(),
            !row.module.ends_with('*'),
        )
    })
}

/// `a::*` stands for everything below `a`, at any depth.
fn matches(pattern: &str, module: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => module.starts_with(prefix),
        None => pattern == module,
    }
}

fn is_allowed(row: &Row, source: &Source, path: &str, modules: &BTreeSet<&str>) -> bool {
    let first = path.split("::").next().unwrap();
    if !["crds", "controller", "speaker"].contains(&first) {
        return EVERYWHERE.contains(&first) || row.crates.contains(&first);
    }
    // What is named may be an item: the module is the longest prefix that is one.
    let mut module = path;
    while !modules.contains(module) {
        let Some((parent, _)) = module.rsplit_once("::") else {
            return false;
        };
        module = parent;
    }
    let is_own = module == source.module || module.starts_with(&format!("{}::", source.module));
    // `crate::x` that is no module is a re-export of the crate's root, or its name in a path.
    is_own || !module.contains("::") || row.uses.iter().any(|pattern| matches(pattern, module))
}

/// The paths of all `use` declarations, with braces multiplied out.
fn uses(code: &str) -> Vec<String> {
    let mut all = Vec::new();
    for statement in code.split(';') {
        let Some(at) = statement.rfind("use ") else {
            continue;
        };
        let is_word = statement[..at].ends_with(|letter: char| letter.is_whitespace()) || at == 0;
        if is_word {
            let words: Vec<&str> = statement[at + 4..].split_whitespace().collect();
            let tree = words.join(" ");
            multiply("", &tree, &mut all);
        }
    }
    all
}

fn multiply(prefix: &str, tree: &str, all: &mut Vec<String>) {
    let tree = tree.trim();
    let Some((head, rest)) = tree.split_once('{') else {
        // Another name for it changes nothing.
        let path = format!("{prefix}{}", tree.split(' ').next().unwrap());
        all.push(path.trim_end_matches("::*").to_owned());
        return;
    };
    let prefix = format!("{prefix}{}", head.trim());
    let inner = rest.strip_suffix('}').unwrap_or(rest);
    let (mut depth, mut start) = (0, 0);
    for (at, letter) in inner.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                multiply(&prefix, &inner[start..at], all);
                start = at + 1;
            }
            _ => {}
        }
    }
    if !inner[start..].trim().is_empty() {
        multiply(&prefix, &inner[start..], all);
    }
}

fn sources() -> Vec<Source> {
    let mut sources = Vec::new();
    for krate in ["crds", "controller", "speaker"] {
        let root = programs::workspace().join(krate).join("src");
        for path in all_files(&root, "rs") {
            let is_test = path.ends_with("tests.rs") || path.iter().any(|part| part == "tests");
            // The workspace's own folder of that name lies outside of these roots.
            let is_test = is_test
                && path
                    .strip_prefix(&root)
                    .unwrap()
                    .to_string_lossy()
                    .contains("tests");
            if !is_test && !is_helper_of_tests(&path) {
                sources.push(Source::read(&root, krate, path));
            }
        }
    }
    assert!(sources.len() > 20, "where are the sources?");
    sources
}

/// Declared in its parent as `#[cfg(test)] mod fixture;`.
fn is_helper_of_tests(path: &Path) -> bool {
    let name = path.file_stem().unwrap().to_string_lossy();
    let parent = path.parent().unwrap();
    let parents = [parent.join("lib.rs"), parent.with_extension("rs")];
    let text: String = parents
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .collect();
    ["mod", "pub(crate) mod"]
        .iter()
        .any(|words| text.contains(&format!("#[cfg(test)]\n{words} {name};")))
}

fn without_tests(text: &str) -> String {
    // By the order of a file, tests are its end; a helper of tests may stand among the modules.
    let is_end = |at: &usize| {
        !text[*at..]
            .lines()
            .nth(2)
            .is_some_and(|line| line.ends_with(';'))
    };
    let mut ends = text.match_indices("\n#[cfg(test)]\n").map(|(at, _)| at);
    let end = ends.find(is_end).unwrap_or(text.len());
    text[..end].to_owned()
}

/// Comments and string literals blanked out; good enough for formatted code.
fn without_words(text: &str) -> String {
    let lines = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    let mut code = String::new();
    for line in lines {
        let line = line.split(" // ").next().unwrap();
        for (index, part) in line.split('"').enumerate() {
            code.push_str(if index % 2 == 0 { part } else { " " });
        }
        code.push('\n');
    }
    code
}

/// Functions over 100 lines, found by the closing brace at their own indentation.
fn long_functions(text: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut long = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let trimmed = line.trim_start();
        let is_function = trimmed
            .split(['(', '<'])
            .next()
            .unwrap()
            .split(' ')
            .any(|word| word == "fn");
        // What ends with a semicolon is a trait's, without a body.
        if !is_function || trimmed.starts_with("//") || trimmed.ends_with(';') {
            continue;
        }
        let closing = format!("{}}}", " ".repeat(line.len() - trimmed.len()));
        let length = lines[at..]
            .iter()
            .position(|line| *line == closing)
            .unwrap_or(0)
            + 1;
        if length > 100 {
            long.push((trimmed.to_owned(), length));
        }
    }
    long
}

fn cited(text: &str) -> BTreeSet<String> {
    let after = text.split("RFC ").skip(1);
    let numbers = after.map(|rest| {
        rest.chars()
            .take_while(char::is_ascii_digit)
            .collect::<String>()
    });
    numbers.filter(|number| number.len() >= 3).collect()
}

fn all_files(root: &Path, extension: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(root).unwrap().map(Result::unwrap) {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if entry.file_type().unwrap().is_dir() {
            if name != "target" && name != ".git" {
                files.append(&mut all_files(&path, extension));
            }
        } else if path.extension().is_some_and(|found| found == extension) {
            files.push(path);
        }
    }
    files.sort();
    files
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn the_reader_of_sources_reads_what_it_should() {
    let tests = "#[test]\nfn f1_to_f3_f7_it_is() {}\n#[tokio::test]\n#[x]\nasync fn l2_holds() {}";
    assert_eq!(tests_of(tests), ["f1_to_f3_f7_it_is", "l2_holds"]);
    let of = |name: &str| ids(&name.split('_').collect::<Vec<_>>());
    let wanted = [('f', 1), ('f', 2), ('f', 3), ('f', 7)];
    assert_eq!(of("f1_to_f3_f7_it_is_f9"), wanted.into());
    assert_eq!(of("from_f1_to_f3"), BTreeSet::new());
    let code = "use a::{b as _, c::{d, E}};\npub(crate) use x::y::*;\n";
    assert_eq!(uses(code), ["a::b", "a::c::d", "a::c::E", "x::y"]);
    assert_eq!(
        without_words("a // b\n// c\nlet x = \"tokio::y\";"),
        "a\nlet x =  ;\n"
    );
    assert_eq!(
        cited("RFC 4271 §8 and RFC 826"),
        BTreeSet::from(["4271".to_owned(), "826".to_owned()])
    );
    let long = format!("    fn f() {{\n{}    }}\n", "        x();\n".repeat(120));
    assert_eq!(long_functions(&long), [("fn f() {".to_owned(), 122)]);
    assert!(matches("a::*", "a::b::c") && !matches("a::*", "a") && matches("a", "a"));
}

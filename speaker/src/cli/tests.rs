use super::*;
use crate::router_config::driver;
use crate::router_config::{Dialect, Selection};

fn parse(arguments: &[&str]) -> Result<RunArguments, clap::Error> {
    let line = ["ferrolb-speaker", "run"].iter().chain(arguments);
    match Cli::try_parse_from(line)?.command {
        Command::Run(arguments) => Ok(*arguments),
        Command::Status(_)
        | Command::Rebalance(_)
        | Command::Drain(_)
        | Command::RouterConfig(_) => {
            panic!("run was asked for")
        }
    }
}

fn settings(more: &[&str]) -> Settings {
    let base = ["--manifests", "/m", "--state", "/s", "--node-name", "n1"];
    let line: Vec<&str> = base.iter().chain(more).copied().collect();
    parse(&line).unwrap().settings().unwrap()
}

#[test]
fn the_least_command_line_gets_the_documented_defaults() {
    let settings = settings(&[]);
    assert_eq!(settings.namespace, "metallb-system");
    assert_eq!(
        settings.socket,
        PathBuf::from("/run/ferrolb/speaker-n1.sock")
    );
    assert_eq!(settings.heartbeat, Heartbeat::NoKey);
    assert_eq!(settings.heartbeat_interval, Duration::from_millis(100));
    assert_eq!(settings.heartbeat_down_after, None);
    assert_eq!(settings.layer2_reannounce, Some(Duration::from_secs(30)));
    assert_eq!(settings.identity.class, None);
    assert_eq!(settings.bgp_listen, []);
    assert!(settings.bmp_stations.is_empty());
}

#[test]
fn every_setting_can_be_given() {
    let settings = settings(&[
        "--namespace=lb",
        "--lb-class=example.org/lb",
        "--heartbeat-key-file=/key",
        "--heartbeat-interval=50ms",
        "--heartbeat-down-after=1s",
        "--bgp-listen=192.0.2.11:179",
        "--bgp-listen=[::]:1790",
        "--bmp-station=192.0.2.20:1790",
        "--bmp-station=[2001:db8::20]:1790",
        "--socket=/tmp/s.sock",
        "--log-format=json",
    ]);
    let listen = ["192.0.2.11:179", "[::]:1790"].map(|text| text.parse().unwrap());
    assert_eq!(settings.bgp_listen, listen);
    let stations = ["192.0.2.20:1790", "[2001:db8::20]:1790"].map(|text| text.parse().unwrap());
    assert_eq!(settings.bmp_stations, stations.into());
    assert_eq!(settings.namespace, "lb");
    assert_eq!(settings.identity.class.as_deref(), Some("example.org/lb"));
    assert_eq!(settings.heartbeat, Heartbeat::KeyFile("/key".into()));
    assert_eq!(settings.heartbeat_interval, Duration::from_millis(50));
    assert_eq!(settings.heartbeat_down_after, Some(Duration::from_secs(1)));
    assert_eq!(settings.socket, PathBuf::from("/tmp/s.sock"));
}

fn in_cluster(more: &[&str]) -> Settings {
    let line = [&["--node-name=n1"], more].concat();
    parse(&line).unwrap().settings().unwrap()
}

fn cluster(settings: &Settings) -> &Cluster {
    match &settings.origin {
        Origin::Cluster(cluster) => cluster,
        Origin::Manifests { .. } => panic!("there are no manifests"),
    }
}

#[test]
fn without_manifests_there_is_a_cluster_with_metallbs_ports_and_its_secret() {
    let settings = in_cluster(&[]);
    let defaults = Cluster {
        kubeconfig: None,
        metrics: Some("127.0.0.1:9120".parse().unwrap()),
        health: Some("127.0.0.1:17472".parse().unwrap()),
    };
    assert_eq!(cluster(&settings), &defaults);
    assert!(settings.identity.is_in_cluster);
    let secret = Heartbeat::Secret("memberlist".to_owned());
    assert_eq!(settings.heartbeat, secret);
    let settings = in_cluster(&[
        "--kubeconfig=/k",
        "--port=0",
        "--health-probe-port=17000",
        "--ml-secret-key-path=/etc/ml_secret_key",
        "--pod-name=speaker-1",
    ]);
    let given = Cluster {
        kubeconfig: Some("/k".into()),
        metrics: None,
        health: Some("127.0.0.1:17000".parse().unwrap()),
    };
    assert_eq!(cluster(&settings), &given);
    let file = Heartbeat::KeyFile("/etc/ml_secret_key/secretkey".into());
    assert_eq!(settings.heartbeat, file);
    let settings = in_cluster(&["--metrics-address=::", "--ml-secret-name=other"]);
    let metrics = cluster(&settings).metrics;
    assert_eq!(metrics, Some("[::]:9120".parse().unwrap()));
    assert_eq!(settings.heartbeat, Heartbeat::Secret("other".to_owned()));
    let settings = in_cluster(&["--heartbeat-insecure", "--ml-secret-key-path=/d"]);
    assert_eq!(settings.heartbeat, Heartbeat::Insecure);
}

#[test]
fn a_wrong_command_line_is_claps_to_refuse_with_2() {
    for line in [
        vec!["--manifests=/m"],
        vec!["--manifests=/m", "--state=/s", "--node-name=../etc"],
        vec!["--manifests=/m", "--state=/s", "--node-name=Upper"],
        vec!["--manifests=/m", "--state=/s", "--heartbeat-interval=soon"],
        vec!["--manifests=/m", "--state=/s", "--heartbeat-interval=0s"],
        vec!["--heartbeat-insecure", "--heartbeat-key-file=/k"],
        vec!["--manifests=/m", "--state=/s", "--kubeconfig=/k"],
        vec!["--port=metrics"],
        vec!["--bmp-station=192.0.2.20"],
        vec!["--no-such-flag"],
    ] {
        assert_eq!(parse(&line).unwrap_err().exit_code(), 2, "{line:?}");
    }
}

#[test]
fn announcing_again_is_between_a_second_and_an_hour_or_off() {
    let given = |text: &str| {
        let argument = format!("--layer2-reannounce={text}");
        parse(&["--node-name=n1", &argument]).map(|run| run.settings().unwrap().layer2_reannounce)
    };
    for (text, expected) in [
        ("1s", Some(1)),
        ("1m30s", Some(90)),
        ("1h", Some(3600)),
        ("0s", None),
        ("0", None),
    ] {
        assert_eq!(given(text).unwrap(), expected.map(Duration::from_secs));
    }
    for text in ["999ms", "1h1s", "-30s", "30", "often"] {
        let error = given(text).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{text}");
    }
    let error = given("100ms").unwrap_err().to_string();
    assert!(
        error.contains("must lie between 1s and 1h, or be 0s"),
        "{error}"
    );
}

#[test]
fn conflicts_are_reported_unless_they_are_to_be_refused() {
    for (more, refuses) in [
        (&[][..], false),
        (&["--conflict=report"], false),
        (&["--conflict=refuse"], true),
    ] {
        assert_eq!(settings(more).identity.refuses_conflicts, refuses);
    }
    let error = parse(&["--node-name=n1", "--conflict=ignore"]).unwrap_err();
    assert_eq!(error.exit_code(), 2);
}

#[test]
fn a_down_after_within_the_interval_is_refused() {
    let line = [
        "--manifests=/m",
        "--state=/s",
        "--node-name=n1",
        "--heartbeat-down-after=100ms",
    ];
    let error = parse(&line).unwrap().settings().unwrap_err();
    assert_eq!(error, Unusable::DownAfterTooShort);
}

#[test]
fn more_than_four_stations_are_refused() {
    let station = "--bmp-station=192.0.2.20:1790";
    let line = [&["--node-name=n1"][..], &[station; 4]].concat();
    let settings = parse(&line).unwrap().settings().unwrap();
    assert_eq!(settings.bmp_stations.len(), 1, "one is told once");
    let line = [&line[..], &[station]].concat();
    let error = parse(&line).unwrap().settings().unwrap_err();
    assert_eq!(error, Unusable::TooManyStations);
}

#[test]
fn metallbs_flags_are_accepted_and_those_without_effect_are_named() {
    let arguments = parse(&[
        "--port=7472",
        "--log-level=debug",
        "--ml-wan-config",
        "--ignore-exclude-lb",
        "--host=192.0.2.1",
        "--frrk8s-secret-passthrough=false",
        "--manifests=/m",
        "--state=/s",
        "--node-name=n1",
    ]);
    let arguments = arguments.unwrap();
    let ignored = ["--host", "--ml-wan-config", "--frrk8s-secret-passthrough"];
    assert_eq!(arguments.ignored(), ignored);
    assert_eq!(arguments.log_level(), "debug");
    assert!(arguments.settings().unwrap().identity.ignore_exclude_label);
}

#[test]
fn an_empty_class_is_no_class() {
    assert_eq!(settings(&["--lb-class="]).identity.class, None);
}

#[test]
fn status_looks_at_the_socket_given_or_that_of_the_node_or_the_only_one() {
    let place = |arguments: &[&str]| {
        let line = ["ferrolb-speaker", "status"].iter().chain(arguments);
        match Cli::try_parse_from(line).unwrap().command {
            Command::Status(arguments) => arguments.place(),
            Command::Run(_)
            | Command::Rebalance(_)
            | Command::Drain(_)
            | Command::RouterConfig(_) => {
                panic!("status was asked for")
            }
        }
    };
    assert_eq!(place(&["--socket=/a"]), Place::Socket("/a".into()));
    let of_node = Place::Socket("/run/ferrolb/speaker-n1.sock".into());
    assert_eq!(place(&["--node-name=n1"]), of_node);
    assert_eq!(place(&["-o", "json"]), Place::OnlyOne);
}

#[test]
fn rebalancing_is_slow_and_for_real_unless_told_otherwise() {
    let parse = |arguments: &[&str]| -> Result<RebalanceArguments, clap::Error> {
        let line = ["ferrolb-speaker", "rebalance"].iter().chain(arguments);
        match Cli::try_parse_from(line)?.command {
            Command::Rebalance(arguments) => Ok(arguments),
            Command::Run(_) | Command::Status(_) | Command::Drain(_) | Command::RouterConfig(_) => {
                panic!("rebalance was asked for")
            }
        }
    };
    let demand = |arguments: &[&str]| parse(arguments).map(|arguments| arguments.demand());
    let expected = |per_minute, dry_run| Demand {
        per_minute,
        dry_run,
    };
    assert_eq!(demand(&[]).unwrap(), expected(10, false));
    let more = ["--per-minute=60", "--dry-run"];
    assert_eq!(demand(&more).unwrap(), expected(60, true));
    for wrong in ["0", "61", "-1", "many"] {
        assert!(demand(&["--per-minute", wrong]).is_err(), "{wrong}");
    }
    let place = parse(&["--socket=/a"]).unwrap().place();
    assert_eq!(place, Place::Socket("/a".into()));
}

#[test]
fn a_delivery_check_is_a_url_that_can_be_asked_or_a_wrong_command_line() {
    let check = |url: &str| {
        let arguments = [
            "ferrolb-speaker",
            "run",
            "--node-name=n1",
            "--delivery-check",
        ];
        Cli::try_parse_from(arguments.into_iter().chain([url]))
    };
    let cli = check("http://127.0.0.1:10256/healthz").unwrap();
    let Command::Run(arguments) = cli.command else {
        panic!("it is run");
    };
    let asked = arguments.settings().unwrap().delivery_check.unwrap();
    assert_eq!(asked.to_string(), "http://127.0.0.1:10256/healthz");
    for url in ["https://127.0.0.1/", "http://kube-proxy/", "healthz"] {
        let error = check(url).unwrap_err().to_string();
        assert!(error.contains("--delivery-check"), "{error}");
    }
}

#[test]
fn drain_begins_takes_back_and_waits_unless_told_otherwise() {
    let parse = |arguments: &[&str]| -> Result<DrainArguments, clap::Error> {
        let line = ["ferrolb-speaker", "drain"].iter().chain(arguments);
        match Cli::try_parse_from(line)?.command {
            Command::Drain(arguments) => Ok(arguments),
            Command::Run(_)
            | Command::Status(_)
            | Command::Rebalance(_)
            | Command::RouterConfig(_) => {
                panic!("drain was asked for")
            }
        }
    };
    let begin = |seconds| DrainDemand::Begin { seconds };
    let wish = |arguments: &[&str]| {
        let order = parse(arguments).unwrap().order();
        (order.demand, order.waits)
    };
    assert_eq!(wish(&[]), (begin(None), true));
    assert_eq!(wish(&["--time=1m", "--no-wait"]), (begin(Some(60)), false));
    assert_eq!(wish(&["--undo"]).0, DrainDemand::Undo);
    for wrong in [
        &["--time=1500ms"][..],
        &["--time=2h"],
        &["--undo", "--no-wait"],
    ] {
        assert!(parse(wrong).is_err(), "{wrong:?}");
    }
}

#[test]
fn a_router_configuration_is_for_somebody_and_of_everything_unless_told_otherwise() {
    let parse = |arguments: &[&str]| {
        let line = ["ferrolb-speaker", "router-config"].iter().chain(arguments);
        let Command::RouterConfig(arguments) = Cli::try_parse_from(line)?.command else {
            panic!("router-config was asked for");
        };
        Ok::<_, clap::Error>(arguments.settings())
    };
    let settings = parse(&["--for=bird", "--manifests=/m"]).unwrap();
    assert_eq!(settings.dialect, Dialect::Bird);
    assert_eq!(settings.origin, driver::Origin::Manifests("/m".into()));
    assert_eq!(settings.namespace, "metallb-system");
    assert_eq!(settings.selection, Selection::default());

    let more = "--for=frr --kubeconfig=/k --namespace=lb --peer=a --peer=b --node-name=n1 --show-passwords";
    let settings = parse(&more.split(' ').collect::<Vec<_>>()).unwrap();
    assert_eq!(settings.dialect, Dialect::Frr);
    assert_eq!(settings.origin, driver::Origin::Cluster(Some("/k".into())));
    assert_eq!(settings.namespace, "lb");
    let expected = Selection {
        peers: ["a", "b"].map(str::to_owned).into(),
        node: Some("n1".to_owned()),
        shows_passwords: true,
    };
    assert_eq!(settings.selection, expected);

    for wrong in [
        &["--manifests=/m"][..],
        &["--for=ios", "--manifests=/m"],
        &["--for=bird", "--manifests=/m", "--kubeconfig=/k"],
        &["--for=bird", "--node-name=N 1"],
    ] {
        assert!(parse(wrong).is_err(), "{wrong:?}");
    }
}

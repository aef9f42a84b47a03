use super::*;

fn settings(line: &str) -> Settings {
    let words = ["ferrolb-controller"]
        .into_iter()
        .chain(line.split_whitespace());
    Cli::try_parse_from(words).unwrap().into_settings()
}

#[track_caller]
fn assert_exits_with_2(line: &str) {
    let words = ["ferrolb-controller"]
        .into_iter()
        .chain(line.split_whitespace());
    let error = Cli::try_parse_from(words).unwrap_err();
    assert_eq!(error.exit_code(), 2, "{line}");
}

#[test]
fn run_on_a_directory() {
    let line = "run --manifests m --state s --lb-class c --address-quarantine 1m30s";
    let run = Run {
        manifests: "m".into(),
        state: "s".into(),
        namespace: "metallb-system".to_owned(),
        class: Some("c".to_owned()),
        quarantine: Duration::from_secs(90),
    };
    assert_eq!(settings(line).task, Task::Run(run));
    let Task::Run(run) = settings("run --manifests m --state s --namespace n --lb-class=").task
    else {
        panic!("not run");
    };
    assert_eq!(run.quarantine, Duration::from_secs(60));
    assert_eq!((run.namespace.as_str(), run.class), ("n", None));
}

#[test]
fn run_in_a_cluster() {
    let in_cluster = |line: &str| match settings(line).task {
        Task::RunInCluster(settings) => settings,
        other @ (Task::Run(_) | Task::Plan(_) | Task::Check(_)) => panic!("{other:?}"),
    };
    let inside = in_cluster("run");
    assert_eq!(inside.kubeconfig, None);
    assert_eq!(inside.key_secret, "memberlist");
    assert_eq!(inside.health_port, NonZeroU16::new(17472));
    assert_eq!(in_cluster("run --health-probe-port=0").health_port, None);
    let outside =
        in_cluster("run --kubeconfig f --namespace n --lb-class c --pod-name p --ml-secret-name s");
    assert_eq!(outside.kubeconfig, Some("f".into()));
    assert_eq!((&*outside.namespace, &*outside.key_secret), ("n", "s"));
    assert_eq!(outside.class.as_deref(), Some("c"));
    assert_eq!(outside.pod.as_deref(), Some("p"));
}

#[test]
fn what_makes_no_sense_exits_with_2() {
    for line in [
        "",
        "walk",
        "run --manifests m",
        "run --state s",
        "run --manifests m --state s --kubeconfig f",
        "run --manifests m --state s --address-quarantine 5",
        "run --no-such-flag",
        "plan",
        "plan --manifests m -o yaml",
        "check --manifests m --state s",
    ] {
        assert_exits_with_2(line);
    }
}

#[test]
fn plan_and_check_print_for_people_unless_told_otherwise() {
    let Task::Plan(plan) = settings("plan --manifests m --state s -o json").task else {
        panic!("not plan");
    };
    assert_eq!(plan.output, PlanOutput::Json);
    let Task::Plan(plan) = settings("plan --manifests m").task else {
        panic!("not plan");
    };
    assert_eq!((plan.output, plan.state), (PlanOutput::Table, None));
    let Task::Check(check) = settings("check --manifests m").task else {
        panic!("not check");
    };
    assert_eq!(check.output, CheckOutput::Text);
}

#[test]
fn flags_of_metallb_are_accepted_and_named() {
    let line = "run --port=7472 --log-level=debug --webhook-mode enabled --tls-min-version=VersionTLS12 \
                --disable-cert-rotation --webhook-http2=false";
    let settings = settings(line);
    assert_eq!(settings.log_level, LogLevel::Debug);
    assert_eq!(
        settings.ignored,
        [
            "--disable-cert-rotation",
            "--webhook-mode",
            "--webhook-http2",
            "--tls-min-version"
        ]
    );
}

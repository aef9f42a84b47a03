use super::*;
use crate::model::ServiceKey;
use crate::source::manifests::document::whole;
use crate::validate::ObjectRef;

fn say(catalog: &mut Catalog, file: &str, text: &str) {
    match whole(text) {
        Ok(documents) => catalog.replace(file, text.into(), Contents::of(documents, "system")),
        Err(error) => catalog.fail(file, error),
    }
}

/// `name=port` of the Services that changed, `name-` of those that went.
fn settle(catalog: &mut Catalog) -> Vec<String> {
    let changes = catalog.settle();
    let told = changes.into_iter().map(|(key, resource)| match resource {
        Some(Resource::Service(service)) => format!("{}={}", key.name, service.ports[0].port),
        Some(_) => key.name,
        None => format!("{}-", key.name),
    });
    told.collect()
}

fn service(name: &str, port: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Service, metadata: {{name: {name}}}, spec: {{ports: [{{port: {port}}}]}}}}\n---\n"
    )
}

fn problems(catalog: &Catalog) -> Vec<String> {
    let problems = catalog.problems(&[]);
    problems.iter().map(ToString::to_string).collect()
}

fn unknown(catalog: &Catalog) -> (bool, Vec<ServiceKey>) {
    let unreadable = catalog.unreadable();
    (unreadable.any, unreadable.services.into_iter().collect())
}

#[test]
fn objects_come_change_and_go_with_their_file() {
    let mut catalog = Catalog::default();
    say(
        &mut catalog,
        "a.yaml",
        &(service("web", "80") + &service("api", "90")),
    );
    assert_eq!(settle(&mut catalog), ["api=90", "web=80"]);
    say(
        &mut catalog,
        "a.yaml",
        &(service("web", "81") + &service("api", "90")),
    );
    assert_eq!(settle(&mut catalog), ["web=81"]);
    say(&mut catalog, "a.yaml", &service("api", "90"));
    assert_eq!(settle(&mut catalog), ["web-"]);
    catalog.remove("a.yaml");
    assert_eq!(settle(&mut catalog), ["api-"]);
    assert!(catalog.objects.is_empty() && catalog.files.0.is_empty());
}

#[test]
fn i4_an_object_that_moves_to_another_file_is_no_change() {
    let mut catalog = Catalog::default();
    say(&mut catalog, "a.yaml", &service("web", "80"));
    settle(&mut catalog);
    say(&mut catalog, "b.yaml", &service("web", "80"));
    catalog.remove("a.yaml");
    assert_eq!(settle(&mut catalog), Vec::<String>::new());
    assert_eq!(problems(&catalog), Vec::<String>::new());
    say(&mut catalog, "b.yaml", &service("web", "81"));
    assert_eq!(settle(&mut catalog), ["web=81"]);
}

#[test]
fn of_two_objects_of_one_name_the_first_path_in_byte_order_wins() {
    let mut catalog = Catalog::default();
    say(&mut catalog, "b.yaml", &service("web", "81"));
    say(&mut catalog, "a/z.yaml", &service("web", "80"));
    say(&mut catalog, "a.yaml", &service("web", "82"));
    assert_eq!(settle(&mut catalog), ["web=82"]);
    assert_eq!(
        problems(&catalog),
        [
            "a/z.yaml:1:44: Service/web: metadata.name: defined twice: the one at a.yaml:1 is in force; remove or rename one of them",
            "b.yaml:1:44: Service/web: metadata.name: defined twice: the one at a.yaml:1 is in force; remove or rename one of them",
        ]
    );
}

#[test]
fn of_two_objects_of_one_name_the_one_in_force_stays() {
    let mut catalog = Catalog::default();
    say(&mut catalog, "b.yaml", &service("web", "81"));
    settle(&mut catalog);
    say(&mut catalog, "a.yaml", &service("web", "80"));
    assert_eq!(settle(&mut catalog), Vec::<String>::new());
    assert!(problems(&catalog)[0].starts_with("a.yaml:1:44: Service/web: metadata.name: "));
    say(&mut catalog, "b.yaml", &service("web", "83"));
    assert_eq!(
        settle(&mut catalog),
        ["web=83"],
        "it stays also when it is edited"
    );
    catalog.remove("b.yaml");
    assert_eq!(
        settle(&mut catalog),
        ["web=80"],
        "then the other takes its place"
    );
    assert_eq!(problems(&catalog), Vec::<String>::new());
}

#[test]
fn of_two_in_one_file_the_first_wins_but_one_in_force_stays() {
    let mut catalog = Catalog::default();
    say(
        &mut catalog,
        "a.yaml",
        &(service("web", "80") + &service("web", "81")),
    );
    assert_eq!(settle(&mut catalog), ["web=80"]);
    say(
        &mut catalog,
        "a.yaml",
        &(service("web", "79") + &service("web", "80")),
    );
    assert_eq!(settle(&mut catalog), Vec::<String>::new());
    assert!(problems(&catalog)[0].starts_with("a.yaml:1:44: "));
}

#[test]
fn i5_a_file_that_does_not_parse_keeps_its_last_good_objects() {
    let mut catalog = Catalog::default();
    say(&mut catalog, "a.yaml", &service("web", "80"));
    settle(&mut catalog);
    say(&mut catalog, "a.yaml", "a: [\n");
    assert_eq!(settle(&mut catalog), Vec::<String>::new());
    assert_eq!(unknown(&catalog), (false, Vec::new()));
    assert!(!catalog.may_lack_a_pool());
    let problem = &problems(&catalog)[0];
    assert!(
        problem.starts_with("a.yaml:2:1: did not find expected node content"),
        "{problem}"
    );
    say(&mut catalog, "a.yaml", "");
    assert_eq!(settle(&mut catalog), ["web-"]);
    assert_eq!(problems(&catalog), Vec::<String>::new());
}

#[test]
fn i5_a_file_that_never_parsed_may_hold_anything() {
    let mut catalog = Catalog::default();
    say(&mut catalog, "a.yaml", "a: [\n");
    assert_eq!(unknown(&catalog), (true, Vec::new()));
    assert!(catalog.may_lack_a_pool());
    say(&mut catalog, "a.yaml", &service("web", "80"));
    assert_eq!(settle(&mut catalog), ["web=80"]);
    assert_eq!(unknown(&catalog), (false, Vec::new()));
    assert!(!catalog.may_lack_a_pool());
}

#[test]
fn i5_only_a_file_that_changed_since_may_have_taken_an_object_in() {
    let mut catalog = Catalog::default();
    let web = ServiceKey::new("default", "web");
    say(&mut catalog, "old.yaml", "a: [\n");
    say(&mut catalog, "a.yaml", &service("web", "80"));
    settle(&mut catalog);
    catalog.remove("a.yaml");
    assert_eq!(settle(&mut catalog), ["web-"]);
    assert_eq!(
        unknown(&catalog),
        (true, Vec::new()),
        "old.yaml is as it was"
    );

    say(&mut catalog, "a.yaml", &service("web", "80"));
    settle(&mut catalog);
    catalog.remove("a.yaml");
    say(&mut catalog, "new.yaml", "a: [\n");
    assert_eq!(settle(&mut catalog), ["web-"]);
    assert_eq!(unknown(&catalog), (true, vec![web.clone()]));
    say(&mut catalog, "new.yaml", "");
    settle(&mut catalog);
    assert_eq!(unknown(&catalog), (true, Vec::new()), "it is not there");

    say(&mut catalog, "a.yaml", &service("web", "80"));
    settle(&mut catalog);
    catalog.remove("a.yaml");
    say(
        &mut catalog,
        "new.yaml",
        "{apiVersion: v1, metadata: {name: web}}",
    );
    settle(&mut catalog);
    assert_eq!(unknown(&catalog), (true, vec![web]));
    say(&mut catalog, "new.yaml", &service("web", "80"));
    assert_eq!(settle(&mut catalog), ["web=80"]);
    assert_eq!(unknown(&catalog), (true, Vec::new()));
}

#[test]
fn i5_what_moves_into_a_known_file_that_no_longer_parses_is_not_gone() {
    let mut catalog = Catalog::default();
    let pool = "{apiVersion: metallb.io/v1beta1, kind: IPAddressPool, metadata: {name: p}}";
    say(&mut catalog, "b.yaml", &service("api", "90"));
    say(&mut catalog, "web.yaml", &service("web", "80"));
    say(&mut catalog, "pool.yaml", pool);
    settle(&mut catalog);
    say(&mut catalog, "b.yaml", "a: [\n");
    catalog.remove("web.yaml");
    catalog.remove("pool.yaml");
    assert_eq!(settle(&mut catalog), ["p-", "web-"]);
    let web = ServiceKey::new("default", "web");
    assert_eq!(unknown(&catalog), (false, vec![web]));
    assert!(catalog.may_lack_a_pool());
    say(&mut catalog, "b.yaml", &service("api", "90"));
    settle(&mut catalog);
    assert_eq!(unknown(&catalog), (false, Vec::new()));
    assert!(!catalog.may_lack_a_pool());
}

#[test]
fn i5_a_document_that_makes_no_sense_keeps_its_last_good_version() {
    let mut catalog = Catalog::default();
    say(
        &mut catalog,
        "a.yaml",
        &(service("web", "80") + &service("api", "90")),
    );
    settle(&mut catalog);
    say(
        &mut catalog,
        "a.yaml",
        &(service("web", "none") + &service("api", "91")),
    );
    assert_eq!(settle(&mut catalog), ["api=91"]);
    assert_eq!(unknown(&catalog), (false, Vec::new()));
    assert!(
        problems(&catalog)[0]
            .starts_with("a.yaml:1:72: Service/web: spec.ports[0].port: invalid type: string"),
        "{:?}",
        problems(&catalog)
    );
    say(&mut catalog, "a.yaml", &service("api", "91"));
    assert_eq!(
        settle(&mut catalog),
        ["web-"],
        "but one that is gone is gone"
    );
}

#[test]
fn i5_a_service_that_never_made_sense_is_unknown() {
    let mut catalog = Catalog::default();
    say(&mut catalog, "a.yaml", &service("web", "none"));
    assert_eq!(settle(&mut catalog), Vec::<String>::new());
    let web = ServiceKey::new("default", "web");
    assert_eq!(unknown(&catalog), (false, vec![web]));
    catalog.remove("a.yaml");
    assert_eq!(settle(&mut catalog), Vec::<String>::new());
    assert_eq!(unknown(&catalog), (false, Vec::new()));
}

#[test]
fn i5_an_object_whose_document_became_unrecognisable_stays() {
    let mut catalog = Catalog::default();
    let both = service("web", "80") + &service("api", "90");
    say(&mut catalog, "a.yaml", &both);
    settle(&mut catalog);
    say(
        &mut catalog,
        "a.yaml",
        &both.replacen("name: web", "nam: web", 1),
    );
    assert_eq!(settle(&mut catalog), Vec::<String>::new());
    assert!(unknown(&catalog).0);
    assert_eq!(
        problems(&catalog),
        ["a.yaml:1:33: Service: metadata.name: is missing: name the object"]
    );
    say(&mut catalog, "a.yaml", &service("api", "90"));
    assert_eq!(settle(&mut catalog), ["web-"]);
}

#[test]
fn a_document_of_another_kind_hides_no_service_and_no_pool() {
    let mut catalog = Catalog::default();
    say(
        &mut catalog,
        "a.yaml",
        "{apiVersion: v1, kind: Node, metadata: {}}",
    );
    assert_eq!(unknown(&catalog), (false, Vec::new()));
    assert!(!catalog.may_lack_a_pool());
    let pool = "{apiVersion: metallb.io/v1beta1, kind: IPAddressPool, metadata: {}}";
    say(&mut catalog, "a.yaml", pool);
    assert_eq!(unknown(&catalog), (false, Vec::new()));
    assert!(catalog.may_lack_a_pool());
    say(&mut catalog, "a.yaml", "{apiVersion: v1}");
    assert!(unknown(&catalog).0 && catalog.may_lack_a_pool());
}

#[test]
fn i5_a_kind_that_is_none_of_its_group_may_be_a_misspelt_pool() {
    let mut catalog = Catalog::default();
    let misspelt = "{apiVersion: metallb.io/v1beta1, kind: IPAddressPoool, metadata: {name: p}}";
    say(&mut catalog, "a.yaml", misspelt);
    assert!(catalog.may_lack_a_pool() && !unknown(&catalog).0);
    let other = "{apiVersion: metallb.io/v1, kind: Community, metadata: {name: c}}";
    say(&mut catalog, "a.yaml", other);
    assert!(!catalog.may_lack_a_pool());
}

#[test]
fn what_has_nothing_of_an_object_is_a_problem_and_hides_none() {
    let mut catalog = Catalog::default();
    let values = "{resources: [web.yaml], namePrefix: a}";
    say(&mut catalog, "kustomization.yaml", values);
    let [problem] = <[String; 1]>::try_from(problems(&catalog)).unwrap();
    assert!(problem.contains("apiVersion: is missing"), "{problem}");
    assert!(!unknown(&catalog).0 && !catalog.may_lack_a_pool());
}

#[test]
fn i5_of_a_pool_that_is_defined_twice_nobody_knows_which_one_counts() {
    let mut catalog = Catalog::default();
    let pool = |range: &str| {
        format!(
            "{{apiVersion: metallb.io/v1beta1, kind: IPAddressPool, metadata: {{name: p}}, spec: {{addresses: [{range}]}}}}"
        )
    };
    say(&mut catalog, "a.yaml", &pool("10.0.0.0/24"));
    settle(&mut catalog);
    assert!(!catalog.may_lack_a_pool());
    say(&mut catalog, "b.yaml", &pool("10.1.0.0/24"));
    settle(&mut catalog);
    assert!(catalog.may_lack_a_pool());
    catalog.remove("b.yaml");
    settle(&mut catalog);
    assert!(!catalog.may_lack_a_pool());
}

#[test]
fn what_validation_finds_is_placed_in_the_document_also_in_a_list() {
    let mut catalog = Catalog::default();
    let text = "\
apiVersion: v1
kind: List
items:
- apiVersion: metallb.io/v1beta1
  kind: IPAddressPool
  metadata:
    name: edge
  spec:
    addresses:
    - nonsense
";
    say(&mut catalog, "pools/a.yaml", text);
    settle(&mut catalog);
    let problem = |path: &str| {
        let object = ObjectRef {
            kind: "IPAddressPool".to_owned(),
            namespace: "system".to_owned(),
            name: "edge".to_owned(),
        };
        Problem::new(object, path, "is wrong")
    };
    let judged = [problem("spec.addresses[0]"), problem("spec.missing")];
    let located: Vec<String> = catalog
        .problems(&judged)
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        located,
        [
            "pools/a.yaml:8:3: IPAddressPool/edge: spec.missing: is wrong",
            "pools/a.yaml:10:7: IPAddressPool/edge: spec.addresses[0]: is wrong",
        ]
    );
}

#[test]
fn i5_a_namespace_that_never_made_sense_is_unknown() {
    let mut catalog = Catalog::default();
    let space = |labels: &str| {
        format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: nn, labels: {labels}}}}}")
    };
    let is_unknown = |catalog: &Catalog| catalog.unreadable().may_hide_namespace("nn");
    say(&mut catalog, "a.yaml", &space("{t: 5}"));
    settle(&mut catalog);
    assert!(is_unknown(&catalog) && !catalog.may_lack_a_namespace());
    say(&mut catalog, "a.yaml", &space("{t: x}"));
    settle(&mut catalog);
    assert!(!is_unknown(&catalog));
    say(&mut catalog, "a.yaml", &space("{t: 5}"));
    settle(&mut catalog);
    assert!(!is_unknown(&catalog), "its last good version is known");
    say(&mut catalog, "b.yaml", "{");
    assert!(catalog.may_lack_a_namespace());
}

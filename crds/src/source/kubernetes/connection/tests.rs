#![expect(clippy::disallowed_methods, reason = "fixtures, not state")]

use std::fs;

use super::*;

/// A kubeconfig whose user is whom a plugin names that answers with this text.
fn with_plugin(directory: &Path, answer: &str) -> PathBuf {
    fs::write(directory.join("answer"), answer).unwrap();
    let text = r"
apiVersion: v1
kind: Config
current-context: here
contexts:
- name: here
  context: {cluster: one, user: somebody, namespace: shop}
clusters:
- name: one
  cluster: {server: 'https://192.0.2.1:6443', insecure-skip-tls-verify: true}
---
users:
- name: somebody
  user:
    exec:
      apiVersion: client.authentication.k8s.io/v1
      command: sh
      args: [-c, cat ANSWER]
      interactiveMode: Never
";
    let answer = directory.join("answer");
    let path = directory.join("kubeconfig");
    let text = text.replace("ANSWER", &answer.display().to_string());
    fs::write(&path, text).unwrap();
    path
}

#[tokio::test]
async fn a_plugin_may_answer_in_json_or_in_yaml() {
    let directory = tempfile::tempdir().unwrap();
    let json = r#"{"kind": "ExecCredential", "apiVersion": "v1", "status": {"token": "t"}}"#;
    let yaml = "kind: ExecCredential\napiVersion: v1\nstatus:\n  token: t\n";
    for answer in [json, yaml] {
        let path = with_plugin(directory.path(), answer);
        let client = connect(Some(&path), "test").await.unwrap();
        assert_eq!(client.default_namespace(), "shop");
    }
    for (answer, why) in [
        ("status: [", "failed to parse auth exec output"),
        ("kind: ExecCredential", "did not contain a status"),
    ] {
        let path = with_plugin(directory.path(), answer);
        let error = connect(Some(&path), "test").await.err().unwrap();
        assert!(error.to_string().contains(why), "{error}");
    }
}

#[tokio::test]
async fn a_kubeconfig_that_makes_no_sense_is_named_with_the_reason() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("kubeconfig");
    for (text, why) in [
        ("clusters: {}\n", "expected a sequence"),
        ("clusters: [\n", "did not find expected node content"),
        ("", "current context"),
    ] {
        fs::write(&path, text).unwrap();
        let error = connect(Some(&path), "test").await.err().unwrap();
        let error = error.to_string();
        assert!(error.contains(&path.display().to_string()), "{error}");
        assert!(error.contains(why), "{error}");
    }
}

//! The Helm chart. Debian has no helm: the templates are rendered by Go's text/template, which Helm uses, with the functions
//! that they use (tests/targets/chart.go), and the values are checked by a validator of JSON schemas, as Helm does.

use super::manifests::{WITH_APPARMOR, WITHOUT_APPARMOR, validate};
use super::{CGROUPFS, EXISTING, METRICS, METRICS_ENDPOINT, Manifests, NRI, packaging, tool};
use crate::support::go::GoProgram;
use crate::support::keepalive;
use crate::support::process::{LIMIT, output_within, text};
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};
use tempfile::TempDir;

const TO_JSON: &str = "import json, sys, yaml; json.dump(yaml.safe_load(open(sys.argv[1])), sys.stdout)";
const VALIDATE: &str =
    "import json, sys, jsonschema; jsonschema.validate(*(json.load(open(path)) for path in sys.argv[1:]))";

fn chart(file: &str) -> PathBuf {
    packaging().join("chart").join(file)
}

/// Returns a YAML file of the chart.
#[track_caller]
fn read(file: &str) -> Value {
    let mut command = Command::new(tool("python"));
    let json = super::run_successfully(command.args(["-c", TO_JSON]).arg(chart(file)));
    serde_json::from_str(&json).expect("JSON")
}

/// Returns the values of the chart with these changes, merged as Helm merges objects.
fn values(changes: &Value) -> Value {
    fn merge(values: &mut Value, changes: &Value) {
        match (values, changes) {
            (Value::Object(values), Value::Object(changes)) => {
                for (key, change) in changes {
                    merge(values.entry(key).or_insert(Value::Null), change);
                }
            }
            (value, change) => *value = change.clone(),
        }
    }
    let mut values = read("values.yaml");
    merge(&mut values, changes);
    values
}

/// Renders the chart with these changed values as the release `name` in the namespace keepalive.
#[track_caller]
fn render(program: &GoProgram, name: &str, changes: &Value) -> Manifests {
    let about = read("Chart.yaml");
    let context = json!({
        "Values": values(changes),
        "Release": {"Name": name, "Namespace": "keepalive"},
        "Chart": {"AppVersion": about["appVersion"], "Version": about["version"]},
    });
    let directory = TempDir::new().expect("a temporary directory");
    let input = directory.path().join("context.json");
    fs::write(&input, context.to_string()).expect("a file of the test");
    let mut command = Command::new("sh");
    command.args(["-c", r#"exec "$0" "$1" <"$2""#]).arg(program.path());
    let yaml = super::run_successfully(command.arg(chart("")).arg(&input));
    Manifests::parse(&yaml, directory)
}

/// Returns the program that renders, or from the test.
macro_rules! renderer {
    () => {{
        manifests!();
        match GoProgram::build_from("chart.go") {
            Ok(program) => program,
            Err(why) => skip!("{why}"),
        }
    }};
}

/// The objects of a release with the name of the base are those of the base, except for names in the namespace.
#[test]
fn chart_is_the_base_and_values_are_its_components() {
    let program = renderer!();
    for (changes, components) in [
        (json!({}), &[][..]),
        (json!({"cgroup": "/kubepods"}), &[CGROUPFS]),
        (json!({"existing": true}), &[EXISTING]),
        (json!({"metrics": {"enabled": true}}), &[METRICS]),
        (json!({"metricsEndpoint": {"enabled": true}}), &[METRICS_ENDPOINT]),
        (json!({"nri": {"enabled": true}}), &[NRI]),
        (
            json!({
                "existing": true,
                "metrics": {"enabled": true},
                "metricsEndpoint": {"enabled": true},
                "nri": {"enabled": true},
                "cgroup": "/kubepods",
            }),
            &[EXISTING, METRICS, METRICS_ENDPOINT, NRI, CGROUPFS],
        ),
    ] {
        let rendered = render(&program, "keepalive", &changes);
        let base = Manifests::with(components);
        assert_eq!(rendered.object("DaemonSet"), base.object("DaemonSet"), "{changes}");
        for (kind, field) in [
            ("ResourceQuota", "spec"),
            ("ServiceAccount", "automountServiceAccountToken"),
        ] {
            assert_eq!(rendered.object(kind)[field], base.object(kind)[field], "{kind}");
        }
        let labels = &rendered.object("DaemonSet")["spec"]["template"]["metadata"]["labels"];
        let policies = |manifests: &Manifests, selector: Value| -> Vec<Value> {
            let mut policies: Vec<Value> = manifests
                .all("NetworkPolicy")
                .iter()
                .map(|policy| policy["spec"].clone())
                .collect();
            for policy in &mut policies {
                assert_eq!(policy["podSelector"].take(), selector);
            }
            policies.sort_by_key(Value::to_string);
            policies
        };
        let of_release = policies(&rendered, json!({"matchLabels": labels}));
        assert_eq!(of_release, policies(&base, json!({})));
        // The namespace is Helm's.
        assert_eq!(rendered.objects.len(), base.objects.len() - 1);
        assert!(
            rendered
                .objects
                .iter()
                .all(|object| object["metadata"]["namespace"] == "keepalive")
        );
    }
}

#[test]
fn chart_is_valid_in_the_first_and_the_last_documented_version() {
    let program = renderer!();
    let default = render(
        &program,
        "keepalive",
        &json!({"imagePullSecrets": [{"name": "registry"}]}),
    );
    // The objects are those of the base, which is validated by all versions.
    validate(&default, WITHOUT_APPARMOR[0]);
    let from = json!([{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]);
    let endpoint = json!({"enabled": true, "address": "[::]", "port": 19464, "from": from});
    let all = json!({"existing": true, "metrics": {"enabled": true}, "metricsEndpoint": endpoint, "maxSurge": 1});
    let all = render(&program, "keepalive", &all);
    validate(&all, WITH_APPARMOR[WITH_APPARMOR.len() - 1]);
    let arguments = all.container()["args"].to_string();
    assert!(arguments.contains(r#""--metrics-listen","[::]:19464""#), "{arguments}");
    let rules: Vec<&Value> = all
        .all("NetworkPolicy")
        .iter()
        .filter_map(|policy| policy["spec"].get("ingress"))
        .collect();
    assert_eq!(
        rules,
        [&json!([{"ports": [{"protocol": "TCP", "port": "metrics"}], "from": from}])]
    );
}

/// Two releases in one namespace, for a canary, share no object, no label of a selector and no node.
#[test]
fn releases_are_separate() {
    let program = renderer!();
    let pool = |operator: &str| json!([{"key": "keepalive.io/pool", "operator": operator, "values": ["canary"]}]);
    let one = render(&program, "keepalive", &json!({"nodeAffinity": pool("NotIn")}));
    let other = render(&program, "canary", &json!({"nodeAffinity": pool("In")}));
    for object in &other.objects {
        let names = |manifests: &Manifests| -> Vec<Value> {
            let same_kind = manifests.objects.iter().filter(|other| other["kind"] == object["kind"]);
            same_kind.map(|object| object["metadata"]["name"].clone()).collect()
        };
        assert!(!names(&one).contains(&object["metadata"]["name"]), "{object}");
    }
    let selector = |manifests: &Manifests| manifests.object("DaemonSet")["spec"]["selector"].clone();
    assert_ne!(selector(&one), selector(&other));
    let volumes = other.pod()["volumes"].to_string();
    assert!(volumes.contains("\"configMap\":{\"name\":\"canary\"}"), "{volumes}");
    assert_eq!(other.pod()["serviceAccountName"], "canary");
}

/// Validates values by the chart's schema.
fn validated(values: &Value) -> Output {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    fs::write(file.path(), values.to_string()).expect("a file of the test");
    let mut command = Command::new(tool("python"));
    output_within(
        LIMIT,
        command
            .args(["-c", VALIDATE])
            .arg(file.path())
            .arg(chart("values.schema.json")),
    )
}

#[test]
fn schema_accepts_the_values_and_refuses_mistakes() {
    manifests!();
    for good in [
        json!({}),
        json!({"existing": true, "maxSurge": 2, "image": {"tag": "0.2.0"}}),
    ] {
        let output = validated(&values(&good));
        assert!(output.status.success(), "{good}: {output:?}");
    }
    for (bad, expected) in [
        (json!({"cgroups": "/kubepods"}), "'cgroups' was unexpected"),
        (json!({"cgroup": "kubepods"}), "'kubepods' does not match '^/'"),
        (
            json!({"metricsEndpoint": {"address": "localhost"}}),
            "'localhost' does not match",
        ),
        (json!({"metricsEndpoint": {"port": 0}}), "0 is less than the minimum"),
        (json!({"existing": "yes"}), "'yes' is not of type 'boolean'"),
        (json!({"maxSurge": "0%"}), "'0%' does not match"),
        (
            json!({"image": {"pullPolicy": "Sometimes"}}),
            "'Sometimes' is not one of",
        ),
        (json!({"nodeAffinity": []}), "[] should be non-empty"),
    ] {
        let output = validated(&values(&bad));
        assert!(!output.status.success(), "{bad}");
        assert!(
            text(&output.stderr).contains(expected),
            "{bad}: {}",
            text(&output.stderr)
        );
    }
}

#[test]
fn version_and_policy_of_the_chart_are_right() {
    manifests!();
    let about = read("Chart.yaml");
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        (&about["version"], &about["appVersion"]),
        (&json!(version), &json!(version))
    );
    let policy = values(&json!({}))["policy"].clone();
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    fs::write(file.path(), policy.as_str().expect("a text")).expect("a file of the test");
    let output = output_within(LIMIT, Command::new(keepalive()).arg("check").arg(file.path()));
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

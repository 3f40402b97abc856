//! Terraform and the provider kong/konnect accept what `setup --print terraform` prints, and the
//! simulator accepts what the provider does.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::counterpart;
use crate::konnect::world::World;
use crate::program::Run;

const ENDPOINT: &str = "https://siem.example.com/audit-logs?a=b&c=${d}";
const PROVIDER: &str = "terraform-provider-konnect";

/// A folder with a configuration for the simulator.
struct Terraform {
    world: World,
    program: PathBuf,
    folder: PathBuf,
}

impl Terraform {
    /// Prints the set-up into an empty folder. Returns `None` if a program is missing.
    fn with(flags: &[&str]) -> Option<Terraform> {
        let (program, provider) = (counterpart("terraform")?, counterpart(PROVIDER)?);
        let world = World::new();
        let folder = world.simulator.home().join("terraform");
        fs::create_dir(&folder).unwrap();
        let overrides = format!(
            "provider_installation {{\n  dev_overrides {{ \"kong/konnect\" = {:?} }}\n}}\n",
            provider.parent().unwrap()
        );
        fs::write(folder.join("cli.tfrc"), overrides).unwrap();
        let terraform = Terraform { world, program, folder };
        terraform.print(flags);
        Some(terraform)
    }

    /// Prints the set-up.
    fn print(&self, flags: &[&str]) {
        let fixed = ["setup", "--endpoint", ENDPOINT, "--print", "terraform"];
        let mut print = self.world.command(&[&fixed, flags].concat());
        print.0.env("VIDIMUS_AUTHORIZATION", "Splunk 0123");
        let printed = print.run().expect(0);
        fs::write(self.folder.join("main.tf"), printed.stdout).unwrap();
    }

    fn run(&self, arguments: &[&str]) -> Run {
        let mut command = Command::new(&self.program);
        command.args(arguments).args(["-no-color", "-input=false"]).current_dir(&self.folder);
        command.env("TF_CLI_CONFIG_FILE", self.folder.join("cli.tfrc"));
        command.env("CHECKPOINT_DISABLE", "1");
        // As the printed comment says.
        command.env("TF_VAR_audit_log_authorization", "Splunk 0123");
        command.env("KONNECT_TOKEN", &self.world.simulator.token);
        Run::of(command.stdin(Stdio::null()))
    }

    fn state(&self) -> String {
        let file: &Path = &self.folder.join("terraform.tfstate");
        fs::read_to_string(file).unwrap()
    }

    fn get(&self, path: &str) -> Value {
        self.world.simulator.call("GET", path, Value::Null, 200).json()
    }

    /// Applies the configuration, plans again, and checks that the second plan is empty.
    #[track_caller]
    fn apply(&self) {
        // With this flag, 0 is an empty plan, and 2 is one with changes.
        let plan = ["plan", "-detailed-exitcode"];
        self.run(&plan).expect(2);
        self.run(&["apply", "-auto-approve"]).expect(0);
        self.run(&plan).expect(0);
    }
}

#[test]
fn terraform_sets_up_the_organization_and_destroys_it() {
    let Some(terraform) = Terraform::with(&["--log-format", "json"]) else { return };
    terraform.apply();
    let webhook = terraform.get("/v2/audit-log-webhook");
    assert_eq!((&webhook["enabled"], &webhook["endpoint"]), (&true.into(), &ENDPOINT.into()));
    assert_eq!(webhook["log_format"], "json");
    assert!(!webhook.to_string().contains("Splunk 0123"));

    // A change outside of Terraform is a difference, and a change of the configuration is applied.
    terraform.world.webhook(&["--enabled", "false"]);
    terraform.apply();
    terraform.print(&["--log-format", "cps"]);
    terraform.apply();
    let webhook = terraform.get("/v2/audit-log-webhook");
    assert_eq!((&webhook["enabled"], &webhook["log_format"]), (&true.into(), &"cps".into()));

    terraform.run(&["destroy", "-auto-approve"]).expect(0);
    assert_eq!(terraform.get("/v2/audit-log-webhook")["enabled"], false);
    assert!(!terraform.state().contains("konnect_audit_log"));
}

#[test]
fn terraform_sets_up_a_portal_and_destroys_it() {
    let Some(terraform) = Terraform::with(&[]) else { return };
    let portal = terraform.world.portal.clone();
    terraform.print(&["--portal", &portal, "--log-format", "json"]);
    terraform.apply();
    let path = format!("/v3/portals/{portal}/audit-log-webhook");
    let destinations = || terraform.get("/v3/audit-log-destinations")["data"].clone();
    let webhook = terraform.get(&path);
    assert_eq!(webhook["enabled"], true);
    let made = destinations();
    assert_eq!(webhook["audit_log_destination_id"], made[0]["id"]);
    assert_eq!((&made[0]["endpoint"], &made[1]), (&ENDPOINT.into(), &Value::Null));

    terraform.world.webhook(&["--portal", &portal, "--enabled", "false"]);
    terraform.apply();
    terraform.run(&["destroy", "-auto-approve"]).expect(0);
    assert_eq!(terraform.get(&path)["enabled"], false);
    assert_eq!(destinations(), serde_json::json!([]));
}

#[test]
fn terraform_shows_the_reason_of_a_refusal() {
    let Some(terraform) = Terraform::with(&[]) else { return };
    let mut text = fs::read_to_string(terraform.folder.join("main.tf")).unwrap();
    text = text.replace("\"https://siem.example.com", "\"siem.example.com");
    fs::write(terraform.folder.join("main.tf"), text).unwrap();
    let refused = terraform.run(&["apply", "-auto-approve"]).expect(1);
    let shown: String = refused.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(shown.contains("must be a valid URL"), "{refused}");
}

use std::fs;

use daypass_proto::encoding::Fixed;

use super::*;
use crate::store::{Change, Decision, PolicyVersion};
use crate::{
    fixture::{Made, event},
    store::DecideError,
};

fn write(made: &Made, text: &str) -> PathBuf {
    let folder = made.issuer.config.policy.clone();
    fs::write(folder.join("projects/apollo.toml"), text).unwrap();
    folder
}

fn owners(made: &Made) -> Vec<String> {
    made.issuer.policy().project(&"apollo".parse().unwrap()).unwrap().owners.clone()
}

#[tokio::test]
async fn a_policy_counts_once_it_is_loaded_and_is_followed_without_a_restart() {
    let made = Made::new().await;
    let before = made.issuer.policy().hash();
    let text = fs::read_to_string(made.issuer.config.policy.join("projects/apollo.toml")).unwrap();
    let folder = write(&made, &text.replace("olga@", "oskar@"));
    made.issuer.reload_policy().await.unwrap();
    assert_eq!(owners(&made), ["olga@example.com"], "written is not loaded");
    put_in_force(&made.issuer, &folder).await.unwrap();
    made.issuer.reload_policy().await.unwrap();
    assert_eq!(owners(&made), ["oskar@example.com"]);
    let leaf = made.events("policy_loaded").await.pop().unwrap();
    assert!(leaf.contains(&hex::encode(before)) && leaf.contains(&hex::encode(made.issuer.policy().hash())), "{leaf}");
    assert!(!leaf.contains(&operator()), "{leaf}");
    // Once more changes nothing.
    let events = made.events("policy_loaded").await.len();
    put_in_force(&made.issuer, &folder).await.unwrap();
    assert_eq!(made.events("policy_loaded").await.len(), events);
}

#[tokio::test]
async fn a_broken_policy_never_replaces_a_good_one() {
    let made = Made::new().await;
    let before = made.issuer.policy().hash();
    let folder = write(&made, "owners = []");
    assert!(matches!(put_in_force(&made.issuer, &folder).await, Err(CommandError::Policy(_))));
    made.issuer.reload_policy().await.unwrap();
    assert_eq!(made.issuer.policy().hash(), before);
    // One that another program put there, which this one does not understand.
    let files: Files = [("projects/apollo.toml", "owners = 7")].into_iter().collect();
    let version = PolicyVersion { number: 2, hash: Fixed(files.hash()), at: made.now(), files };
    let decision = Decision::new(event(&made.issuer.environment));
    made.issuer.store.decide(decision.change(Change::SetPolicy(version))).await.unwrap();
    assert!(made.issuer.reload_policy().await.is_err());
    assert_eq!(made.issuer.policy().hash(), before);
}

#[tokio::test]
async fn of_two_who_load_at_once_one_is_told() {
    let made = Made::new().await;
    let load = |number| {
        let files = Files::default();
        let version = PolicyVersion { number, hash: Fixed(files.hash()), at: made.now(), files };
        made.issuer.store.decide(Decision::new(event(&made.issuer.environment)).change(Change::SetPolicy(version)))
    };
    load(2).await.unwrap();
    let error = load(2).await.unwrap_err();
    assert!(matches!(error, DecideError::Conflict(_)), "{error}");
    assert_eq!(error.to_string(), "the policy in force is no longer as it was when this was decided");
    assert!(load(4).await.is_err());
}

#[tokio::test]
async fn a_policy_whose_own_examples_fail_is_not_put_in_force() {
    let made = Made::new().await;
    let before = made.issuer.policy().hash();
    let folder = made.issuer.config.policy.clone();
    let example = |reference: &str| {
        format!(
            "[[allow]]\ncollaborator = \"alice\"\nproject = \"apollo\"\nrole = \"developer\"\nask = [{{ type = \"git_repository\", locations = [\"https://git.example.com/team/app\"], actions = [\"push\"], refs = [\"{reference}\"] }}]\n"
        )
    };
    let write = |text: String| fs::write(folder.join("tests/apollo.toml"), text).unwrap();
    write(example("refs/heads/main"));
    let error = put_in_force(&made.issuer, &folder).await.unwrap_err();
    assert!(matches!(error, CommandError::NotLoaded { .. }), "{error}");
    assert!(error.to_string().contains(&format!("policy test {}", folder.display())), "{error}");
    assert!(check(&folder, true).is_ok() && test::run(&folder, None, true).is_err());
    made.issuer.reload_policy().await.unwrap();
    assert_eq!(made.issuer.policy().hash(), before);
    write(example("refs/heads/alice/fix"));
    test::run(&folder, None, true).unwrap();
    test::run(&folder, Some(false), false).unwrap();
    put_in_force(&made.issuer, &folder).await.unwrap();
    made.issuer.reload_policy().await.unwrap();
    assert_eq!(made.issuer.policy().examples().len(), 1);
}

#[tokio::test]
async fn a_version_is_named_by_folder_hash_or_what_is_in_force() {
    let made = Made::new().await;
    let here = version::Here::look(&made.config, made.issuer.environment.clone()).await;
    let first = hex::encode(made.issuer.policy().hash());
    let text = fs::read_to_string(made.issuer.config.policy.join("projects/apollo.toml")).unwrap();
    let folder = write(&made, &text.replace("10m", "20m"));
    put_in_force(&made.issuer, &folder).await.unwrap();
    // The first once more, so that it was in force twice.
    write(&made, &text);
    put_in_force(&made.issuer, &folder).await.unwrap();
    write(&made, &text.replace("10m", "30m"));
    let lifetime = async |name: &str| here.version(name).await.map(|chosen| chosen.unwrap().policy.longest_token());
    assert_eq!(lifetime("in-force").await.unwrap(), 600);
    assert_eq!(lifetime(folder.to_str().unwrap()).await.unwrap(), 1800);
    assert_eq!(lifetime(&first[..4].to_uppercase()).await.unwrap(), 600);
    assert_eq!(lifetime(&first).await.unwrap(), 600);
    for unknown in [&first[..3], "", "zzzz", "/nonexistent"] {
        assert!(matches!(lifetime(unknown).await, Err(CommandError::Version(VersionError::Unknown(_)))), "{unknown}");
    }
    // Where there is no issuer, folders are read all the same.
    let away = version::Here::look(Path::new("/nonexistent"), made.issuer.environment.clone()).await;
    assert!(away.version(folder.to_str().unwrap()).await.unwrap().is_some());
    assert!(away.version("in-force").await.unwrap().is_none() && away.needed().is_err());
}

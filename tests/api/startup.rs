//! How the process starts, or says why it does not.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Output;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use tempfile::NamedTempFile;
use tokio::process::Command;

use crate::support::TestDatabase;
use crate::support::process::{Serving, complete, serve};

/// What a server that cannot start says, and that it does not succeed.
async fn refusal(settings: &[(&str, impl AsRef<OsStr>)]) -> String {
    let Output { status, stdout, stderr } = serve(settings).output().await.expect("an end");
    let text = String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned();
    assert!(!status.success(), "{text}");
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn every_missing_or_wrong_setting_is_named_at_once() {
    let nothing: [(&str, &str); 0] = [];
    let text = refusal(&nothing).await;
    for name in ["DATABASE_URL", "REDIS_URL", "JWT_PRIVATE_KEY"] {
        assert!(text.contains(name), "{name}: {text}");
    }
    let wrong = [
        ("DATABASE_URL", "mysql://somebody:canary-1@host/db"),
        ("REDIS_URL", "http://:canary-2@host"),
        ("JWT_PRIVATE_KEY", "canary-3"),
        ("PORT", "http"),
        ("LOG_LEVEL", "loud"),
        ("DATABASE_POOL_SIZE", "0"),
        ("MAX_BODY_BYTES", "-1"),
    ];
    let text = refusal(&wrong).await;
    for (name, _) in wrong {
        assert!(text.contains(name), "{name}: {text}");
    }
    assert!(!text.contains("canary"), "{text}");
}

/// A key for another algorithm is as whole as can be, and of no use.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_cannot_sign_is_named_beside_what_else_is_wrong() {
    let elliptic = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).expect("a key");
    let elliptic = elliptic.to_pkcs8v1().expect("its encoding");
    let mut file = NamedTempFile::new().expect("a file");
    file.write_all(pem::encode(&pem::Pem::new("PRIVATE KEY", elliptic.as_ref())).as_bytes()).expect("it is written");
    let mut settings = complete(&TestDatabase::create().await);
    settings
        .extend([("JWT_PRIVATE_KEY_FILE", file.path().to_string_lossy().into_owned()), ("PORT", "http".to_owned())]);
    let text = refusal(&settings).await;
    assert!(
        text.contains("JWT_PRIVATE_KEY_FILE must hold an RSA private key") && text.contains("PORT must be"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_cannot_be_reached_is_named_with_the_reason() {
    let database = TestDatabase::create().await;
    let stranger = database.app_url.replace("mercato_app@", "stranger:canary@");
    let nowhere = "postgresql://mercato_app:canary@127.0.0.1:1/mercato".to_owned();
    for (url, reason) in [(stranger, "role \"stranger\" does not exist"), (nowhere, "Connection refused")] {
        let mut settings = complete(&database);
        settings.extend([("DATABASE_URL", url), ("DATABASE_POOL_WAIT_MS", "1000".to_owned())]);
        let text = refusal(&settings).await;
        assert!(text.contains("DATABASE_URL: ") && text.contains(reason), "{text}");
        assert!(!text.contains("canary"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_could_walk_through_the_walls_is_refused() {
    let database = TestDatabase::create().await;
    let superuser = database.owner_url.replace("mercato_owner@", "postgres@");
    for (url, role) in [(&superuser, "postgres"), (&database.owner_url, "mercato_owner")] {
        let mut settings = complete(&database);
        settings[0].1.clone_from(url);
        let text = refusal(&settings).await;
        assert!(text.contains("DATABASE_URL") && text.contains(role), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn more_connections_than_there_can_be_files_are_refused_at_the_start() {
    let database = TestDatabase::create().await;
    let mut command = Command::new("/bin/sh");
    command.args(["-c", r#"ulimit -n 500 && exec "$0" serve"#, env!("CARGO_BIN_EXE_mercato")]);
    command.env_clear().envs(complete(&database)).current_dir(std::env::temp_dir());
    let Output { status, stderr, .. } = command.output().await.expect("an end");
    let text = String::from_utf8_lossy(&stderr);
    assert!(!status.success() && text.contains("MAX_CONNECTIONS=10000") && text.contains("500"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_behind_is_refused_with_what_it_lacks() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
    let entries = fs::read_dir(folder).expect("the folder of migrations");
    let mut names: Vec<_> =
        entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("text")).collect();
    names.sort_unstable();
    let [.., before, last] = &names[..] else { panic!("two at least") };

    let text = refusal(&complete(&TestDatabase::empty().await)).await;
    let all = names.len();
    assert!(text.contains(&format!("{all} of {all}")) && text.contains("mercato migrate"), "{text}");
    assert!(names.iter().all(|name| text.contains(name)), "{text}");

    let database = TestDatabase::create().await;
    let owner = database.as_owner().await;
    let forget =
        "delete from __diesel_schema_migrations where version = (select max(version) from __diesel_schema_migrations)";
    owner.batch_execute(forget).await.expect("it forgets the last one");
    let text = refusal(&complete(&database)).await;
    assert!(text.contains(&format!("1 of {all}")) && text.contains("mercato migrate"), "{text}");
    assert!(text.contains(last) && !text.contains(before), "{text}");

    // As it was before the server's role could see what has run.
    owner.batch_execute("revoke all on __diesel_schema_migrations from mercato_app").await.expect("it cannot");
    let text = refusal(&complete(&database)).await;
    assert!(text.contains("mercato migrate") && text.contains("DATABASE_URL"), "{text}");
}

/// While a newer version is being rolled out, replicas of the one before are started too.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_ahead_is_served_with_a_warning() {
    let database = TestDatabase::create().await;
    let newer = "insert into __diesel_schema_migrations (version) values ('29990101000001')";
    database.as_owner().await.batch_execute(newer).await.expect("a migration of tomorrow");
    let serving = Serving::on_database(database, &[]).await;
    serving.ask_to_stop();
    let (status, output, errors) = serving.ended().await;
    assert!(status.success(), "{errors}");
    let warnings: Vec<_> = output.lines().filter(|line| line.contains("WARN")).collect();
    assert!(matches!(warnings[..], [warning] if warning.contains("29990101000001")), "{output}");
}

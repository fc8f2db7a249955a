//! These start real servers; each has a directory of its own, so that they can run at once.

use std::{
    fs::{self, Permissions},
    io::{BufRead as _, BufReader, Write as _},
    mem,
    os::unix::{fs::PermissionsExt as _, net::UnixStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use diesel_async::{AsyncConnection as _, AsyncPgConnection, RunQueryDsl as _};
use rustix::process::{Signal, geteuid, kill_process};
use tempfile::TempDir;

use super::{Services, locate, process::poll};

/// A directory that the servers' user may enter (`tempdir`'s default is that only we may).
fn data_dir() -> TempDir {
    tempfile::Builder::new().permissions(Permissions::from_mode(0o755)).tempdir().unwrap()
}

/// Runs one statement and gives how many rows it touched.
fn sql(url: &str, statement: &str) -> diesel::QueryResult<usize> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut connection = AsyncPgConnection::establish(url).await.unwrap();
        diesel::sql_query(statement).execute(&mut connection).await
    })
}

fn redis(services: &Services) -> ::redis::Connection {
    let client = ::redis::Client::open(services.redis_url()).unwrap();
    client.get_connection().unwrap()
}

/// Leaves something behind in both.
fn remember(services: &Services) {
    let owner = services.migration_database_url();
    sql(owner, "create table memories as select 'kept' as text").unwrap();
    let mut redis = redis(services);
    let _: () = ::redis::cmd("SET").arg("memory").arg("kept").query(&mut redis).unwrap();
}

/// Whether both still have what [`remember`] left.
fn remembers(services: &Services) -> [bool; 2] {
    let owner = services.migration_database_url();
    let rows = sql(owner, "select * from memories where text = 'kept'");
    let mut redis = redis(services);
    let value: Option<String> = ::redis::cmd("GET").arg("memory").query(&mut redis).unwrap();
    [rows == Ok(1), value.as_deref() == Some("kept")]
}

fn until(condition: impl Fn() -> bool) {
    let answer = poll(Duration::from_secs(20), || Ok(condition().then_some(())));
    answer.unwrap().expect("this does not come true");
}

#[test]
fn data_stays_until_a_fresh_start() {
    let dir = data_dir();
    let mut services = Services::start(dir.path(), false).unwrap();
    remember(&services);
    let error = Services::start(dir.path(), true).unwrap_err().to_string();
    assert!(error.contains("another mercato is running on"), "{error}");
    services.stop();
    assert_eq!(services.failed(), None, "stopping is no failure");
    assert!(!services.home.socket_dir().exists());

    let services = Services::start(dir.path(), false).unwrap();
    assert_eq!(remembers(&services), [true, true]);
    drop(services);

    let services = Services::start(dir.path(), true).unwrap();
    assert_eq!(remembers(&services), [false, false]);
}

#[test]
fn sockets_of_a_long_path_move() {
    let dir = data_dir();
    let long = dir.path().join("long, \"quoted\" and spaced ".repeat(6));
    let services = Services::start(&long, false).unwrap();
    remember(&services);
    assert_eq!(remembers(&services), [true, true]);
    let sockets = services.home.socket_dir().to_owned();
    assert!(sockets.starts_with("/tmp"), "{}", sockets.display());
    drop(services);
    assert!(!sockets.exists());
}

#[test]
fn odd_characters_in_the_path() {
    let dir = data_dir();
    let services = Services::start(&dir.path().join("a, \"b\" %41 ü"), false).unwrap();
    assert!(services.home.socket_dir().starts_with(dir.path()));
    remember(&services);
    assert_eq!(remembers(&services), [true, true]);
}

#[test]
fn root_may_keep_its_checkout_to_itself() {
    if !geteuid().is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), Permissions::from_mode(0o700)).unwrap();
    let services = Services::start(dir.path(), false).unwrap();
    let root = services.home.root().to_owned();
    assert!(root.starts_with("/var/tmp"), "{}", root.display());
    drop(services);
    fs::remove_dir_all(root).unwrap();
}

#[test]
fn a_death_is_told_and_survived() {
    let dir = data_dir();
    let mut services = Services::start(dir.path(), false).unwrap();
    remember(&services);
    assert_eq!(services.failed(), None);
    kill_process(services.redis.pid(), Signal::KILL).unwrap();
    until_failed(&mut services, "Redis stopped unexpectedly");
    kill_process(services.postgres.pid(), Signal::KILL).unwrap();
    until_failed(&mut services, "PostgreSQL stopped unexpectedly");
    drop(services);

    let services = Services::start(dir.path(), false).unwrap();
    assert_eq!(remembers(&services), [true, true]);
}

fn until_failed(services: &mut Services, expected: &str) {
    let failure = poll(Duration::from_secs(20), || Ok(services.failed().filter(|failure| failure.contains(expected))));
    let failure = failure.unwrap().unwrap();
    assert!(failure.contains("ready to accept connections"), "{failure}");
}

#[test]
fn leftovers_are_stopped() {
    let dir = data_dir();
    let services = Services::start(dir.path(), false).unwrap();
    remember(&services);
    // What a kill -9 leaves where the system does not tell children: servers, and no lock.
    services.home.unlock();
    mem::forget(services);

    let services = Services::start(dir.path(), false).unwrap();
    assert_eq!(remembers(&services), [true, true]);

    // And where the numbers of processes begin anew, as in a container, the server's may be another's by now.
    let file = services.home.path("postgres/postmaster.pid");
    let text = fs::read_to_string(&file).unwrap();
    drop(services);
    let (_, rest) = text.split_once('\n').unwrap();
    fs::write(&file, format!("{}\n{rest}", std::process::id())).unwrap();
    Services::start(dir.path(), false).unwrap();
}

/// Runs [`victim`], kills it, and finds everything in order.
#[test]
fn kill_minus_9_loses_nothing() {
    let dir = data_dir();
    let (_, module) = module_path!().split_once("::").unwrap();
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored", "--nocapture"])
        .arg(format!("{module}::victim"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = victim.stdin.take().unwrap();
    writeln!(stdin, "{}", dir.path().display()).unwrap();
    let mut lines = BufReader::new(victim.stdout.take().unwrap()).lines();
    let line = lines.find(|line| line.as_ref().unwrap().contains(VICTIM_READY));
    let (_, sockets) = line.unwrap().unwrap().rsplit_once(' ').map(own).unwrap();
    victim.kill().unwrap();
    victim.wait().unwrap();

    if locate::in_path("setpriv").is_some() {
        // Nobody has to start again for its servers to end.
        for socket in [".s.PGSQL.5432", "redis.sock"] {
            until(|| UnixStream::connect(sockets.join(socket)).is_err());
        }
    }
    let services = Services::start(dir.path(), false).unwrap();
    assert_eq!(remembers(&services), [true, true]);
}

fn own((before, path): (&str, &str)) -> (String, PathBuf) {
    (before.to_owned(), PathBuf::from(path))
}

const VICTIM_READY: &str = "victim is ready:";

#[test]
#[ignore = "not a test: kill_minus_9_loses_nothing runs it to have something to kill"]
fn victim() {
    let mut lines = std::io::stdin().lines();
    let Some(Ok(dir)) = lines.next() else { return };
    // On a thread that ends at once, as one of tokio's may, which must not take the servers along.
    let started = std::thread::spawn(move || Services::start(Path::new(&dir), false));
    let services = started.join().unwrap().unwrap();
    remember(&services);
    println!("{VICTIM_READY} {}", services.home.socket_dir().display());
    assert!(lines.next().is_none(), "to be killed while waiting here");
}

#[test]
fn roles_have_the_powers_they_need_and_no_more() {
    let dir = data_dir();
    let services = Services::start(dir.path(), false).unwrap();
    let owner = services.migration_database_url();
    let app = services.database_url();
    for needed in [
        "create extension btree_gin",
        "create table things as select 1 as id",
        "alter table things enable row level security, force row level security",
        "create policy readers on things to mercato_audit, mercato_search using (true)",
        "grant select on things to mercato_system",
        "grant create on schema public to mercato_audit, mercato_search",
        "create function log() returns int language sql as 'select 1'",
        "alter function log() owner to mercato_audit",
        "create function find() returns int language sql as 'select 1'",
        "alter function find() owner to mercato_search",
        "do $$ begin set local role mercato_search; revoke all on function find() from public; end $$",
        "do $$ begin set local role mercato_audit; alter function log() cost 7; end $$",
        "revoke create on schema public from mercato_audit, mercato_search",
        "drop function log(), find()",
        "create database another",
    ] {
        sql(owner, needed).unwrap();
    }
    let visible = sql(owner, "select * from things");
    assert_eq!(visible, Ok(0), "a policy of mercato_search's is none of the owner's");
    for denied in [
        "select * from things",
        "create table more ()",
        "create temporary table more ()",
        "set role mercato_owner",
        "set role mercato_audit",
        "set role mercato_search",
        "create database more",
        "create role more",
    ] {
        let error = sql(app, denied).unwrap_err().to_string();
        assert!(error.contains("permission denied"), "{denied}: {error}");
    }
    let as_system = "do $$ begin set local role mercato_system; perform from things; end $$";
    sql(app, as_system).unwrap();
    let unicode = "select where lower('É') = 'é' and 'Z' < 'a' and current_setting('timezone') = 'UTC'";
    assert_eq!(sql(app, unicode), Ok(1));
}

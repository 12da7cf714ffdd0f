//! A process that writes is killed with SIGKILL at a random moment; everything that it was told is on disk must be there.
//!
//! The killed process is this test binary again, running [`a_process_that_writes_until_it_is_killed`].

use bytes::Bytes;
use dayfly_store::{Batch, embedded};
use dayfly_types::Timestamp;
use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

const DIR: &str = "DAYFLY_STORE_KILL_DIR";
const ROUNDS: u64 = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_writes_until_it_is_killed() {
    let Some(dir) = std::env::var_os(DIR).map(PathBuf::from) else { return };
    let store = embedded::open(&dir).unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..8 {
        let store = store.clone();
        let run = uuid::Uuid::new_v4();
        tasks.spawn(async move {
            for i in 0u64.. {
                let name = format!("{run}-{task}-{i}");
                store.tables.commit(Batch::new().put("t", name.clone(), vec![b'x'; 300])).await.unwrap();
                say("row", &name);
                store.queues.enqueue("q", name.clone().into(), Timestamp::UNIX_EPOCH, u64::MAX).await.unwrap();
                say("message", &name);
                let until = Timestamp::UNIX_EPOCH + Duration::from_secs(60);
                for lease in store.queues.lease("q", Timestamp::UNIX_EPOCH, until, 1).await.unwrap() {
                    let done = String::from_utf8(lease.body.to_vec()).unwrap();
                    // Half is acknowledged, with a row in the same commit; the rest stays.
                    if done.ends_with(['0', '2', '4', '6', '8']) {
                        store.queues.acknowledge(&lease, Batch::new().put("done", done.clone(), "")).await.unwrap();
                        say("done", &done);
                    }
                }
                if i % 16 == 0 {
                    let hash = store.blobs.put(Bytes::from(name)).await.unwrap();
                    say("blob", &hash);
                }
            }
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.unwrap();
    }
}

/// One write call per line, so that a kill cannot tear it from its meaning.
fn say(what: &str, name: &str) {
    std::io::stdout().write_all(format!("\nSAID {what} {name}\n").as_bytes()).unwrap();
}

/// What the process said before it was killed, `after` a time.
fn run_and_kill(dir: &Path, after: Duration) -> Vec<(String, String)> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill::a_process_that_writes_until_it_is_killed", "--nocapture"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let reader = std::thread::spawn(move || {
        let mut said = Vec::new();
        for line in lines.map_while(Result::ok) {
            if let ["SAID", what, name] = line.split(' ').collect::<Vec<_>>()[..] {
                said.push((what.to_owned(), name.to_owned()));
            }
        }
        said
    });
    std::thread::sleep(after);
    child.kill().unwrap();
    child.wait().unwrap();
    reader.join().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_by_kill() {
    let dir = tempfile::tempdir().unwrap();
    let mut said = Vec::new();
    for round in 0..ROUNDS {
        // Not at regular moments: the low digits of the clock are as good a die as any here.
        let die = u64::from(std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().subsec_micros() % 250);
        said.extend(run_and_kill(dir.path(), Duration::from_millis(80 + 20 * round + die)));
    }
    let store = embedded::open(dir.path()).unwrap();
    let mut waiting = BTreeSet::new();
    let until = Timestamp::UNIX_EPOCH + Duration::from_secs(60);
    for lease in store.queues.lease("q", Timestamp::UNIX_EPOCH, until, usize::MAX).await.unwrap() {
        assert!(waiting.insert(String::from_utf8(lease.body.to_vec()).unwrap()), "a message is there twice");
    }
    assert_eq!(waiting.len() as u64, store.queues.len("q").await.unwrap());
    for (what, name) in &said {
        let done = store.tables.get("done", name.as_bytes()).await.unwrap().is_some();
        match what.as_str() {
            "row" => assert_eq!(store.tables.get("t", name.as_bytes()).await.unwrap().unwrap().value.len(), 300),
            "message" => assert!(done != waiting.contains(name), "{name}: done {done}, and waiting the same"),
            "done" => assert!(done && !waiting.contains(name)),
            "blob" => assert!(store.blobs.get(name).await.unwrap().is_some()),
            other => panic!("{other}"),
        }
    }
    let kinds: BTreeSet<&str> = said.iter().map(|(what, _)| what.as_str()).collect();
    assert_eq!(kinds.len(), 4, "of each kind something was written: {kinds:?}");
    println!("{} acknowledged things survived {ROUNDS} kills", said.len());
}

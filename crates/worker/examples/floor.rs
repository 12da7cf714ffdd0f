//! Clones and reaps the zygote of a function, and nothing else, and prints how often it could, as JSON:
//! `floor FOLDER RUNTIME IN_FLIGHT SECONDS MEMORY_MB`. The folder holds `app.py` with a function `handler`.
//!
//! This is what `make bench` holds the server's calls per second against.

use dayfly_types::{
    CodeReference, FunctionConfiguration, Limits, Runtime, Timestamp,
    credentials::Credentials,
    function::{LastUpdate, LoggingConfig, State},
};
use dayfly_worker::{Handle, Options, floor};
use sha2::{Digest, Sha256};
use std::{error::Error, fs, io::Write, path::Path, sync::Arc, time::Duration};
use zip::{ZipWriter, write::SimpleFileOptions};

type Failure = Box<dyn Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    // The worker starts this very program as its launcher.
    if std::env::args().nth(1).as_deref() == Some("launcher") {
        dayfly_sandbox::launcher::main()
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, runtime, in_flight, seconds, memory_mb] = arguments.as_slice() else {
        return Err("usage: floor FOLDER RUNTIME IN_FLIGHT SECONDS MEMORY_MB".into());
    };
    let (runtime, in_flight, memory_mb): (Runtime, usize, u32) =
        (runtime.parse()?, in_flight.parse()?, memory_mb.parse()?);
    let time = Duration::try_from_secs_f64(seconds.parse()?)?;
    let data = tempfile::tempdir()?;
    let package = data.path().join("code.zip");
    let sha256 = pack(Path::new(folder), &package)?;
    let done = tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let worker = Handle::start(options(data.path())).await?;
        worker.publish(&sha256, package, runtime).await?;
        let function = function(runtime, memory_mb, sha256)?;
        let looping = worker.clone();
        let done = tokio::task::spawn_blocking(move || floor::run(&looping, &function, in_flight, time)).await?;
        worker.drain(Duration::ZERO).await;
        Ok::<_, Failure>(done?)
    })?;
    let seconds = done.wall.as_secs_f64();
    println!(
        "{{\"count\": {}, \"errors\": 0, \"seconds\": {seconds:.6}, \"per_second\": {:.3}, \"clone_us\": {}, \
         \"prepare_us\": {}, \"life_us\": {}, \"cpu_us\": {}}}",
        done.clones,
        done.clones as f64 / seconds,
        spread(done.clone_us),
        spread(done.prepare_us),
        spread(done.life_us),
        spread(done.cpu_us),
    );
    Ok(())
}

/// Median and 99th percentile, as JSON.
fn spread(mut times: Vec<u64>) -> String {
    times.sort_unstable();
    let at = |percent: usize| times.get(times.len() * percent / 100).copied().unwrap_or_default();
    format!("{{\"p50\": {}, \"p99\": {}}}", at(50), at(99))
}

/// Zips the folder's files to `package`, and tells its SHA-256.
fn pack(folder: &Path, package: &Path) -> Result<String, Failure> {
    let mut archive = ZipWriter::new(fs::File::create(package)?);
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            archive.start_file(
                entry.file_name().to_string_lossy(),
                SimpleFileOptions::default().unix_permissions(0o644),
            )?;
            archive.write_all(&fs::read(entry.path())?)?;
        }
    }
    archive.finish()?;
    Ok(hex::encode(Sha256::digest(fs::read(package)?)))
}

fn options(data: &Path) -> Options {
    Options {
        folder: data.join("cache"),
        limits: Limits::default(),
        server_id: format!("floor-{}", std::process::id()),
        credentials: Arc::new(|_| Credentials {
            access_key_id: "AKIA".to_owned(),
            secret_access_key: "secret".to_owned(),
            session_token: None,
        }),
        endpoint: Arc::new(|_| Box::new(())),
        environments: dayfly_worker::builder::Policy::default(),
        zygote_idle: Duration::from_secs(600),
        memory_mb: None,
    }
}

fn function(runtime: Runtime, memory_mb: u32, sha256: String) -> Result<FunctionConfiguration, Failure> {
    Ok(FunctionConfiguration {
        arn: "arn:aws:lambda:us-east-1:000000000000:function:floor".parse()?,
        runtime,
        handler: "app.handler".to_owned(),
        role: "arn:aws:iam::000000000000:role/bench".to_owned(),
        description: String::new(),
        timeout_s: 3,
        memory_mb,
        ephemeral_storage_mb: 512,
        environment: Default::default(),
        architecture: "x86_64".to_owned(),
        tags: Default::default(),
        logging: LoggingConfig {
            format: "Text".to_owned(),
            application_level: None,
            system_level: None,
            group: "/aws/lambda/floor".to_owned(),
        },
        code: CodeReference { sha256, size_bytes: 0 },
        revision_id: "1".to_owned(),
        last_modified: Timestamp::now(),
        state: State::Active,
        last_update: LastUpdate::Successful,
        other: Default::default(),
        layers: Vec::new(),
        job: None,
    })
}

//! The registry: creating, changing and deleting functions, also at once and over a crash.

use super::*;
use crate::testing::{World, arn, configuration, eventually, fine, zip};
use dayfly_types::Runtime;
use sha2::{Digest, Sha256};

async fn world() -> World {
    World::new(|_| async { fine() }).await
}

fn sha256(content: &str) -> String {
    hex::encode(Sha256::digest(content))
}

async fn has_package(world: &World, content: &str) -> bool {
    world.store.blobs.path(&sha256(content)).await.unwrap().is_some()
}

fn elsewhere(name: &str) -> FunctionConfiguration {
    FunctionConfiguration {
        arn: format!("arn:aws:lambda:us-east-1:000000000000:function:{name}").parse().unwrap(),
        ..configuration(name)
    }
}

#[tokio::test]
async fn functions_are_created_listed_counted_and_deleted() {
    let world = world().await;
    let functions = world.functions();
    for name in ["b", "a-2", "a", "c"] {
        let made = world.create(name).await;
        assert_eq!((made.state, made.code.size_bytes), (State::Active, name.len() as u64));
        assert_eq!((made.code.sha256, made.last_modified), (sha256(name), world.clock.now()));
    }
    functions.create(elsewhere("a"), zip("a")).await.unwrap();
    let here = arn("a");
    let list = async |after, limit| -> Vec<String> {
        let list = functions.list(&here.account, &here.region, after, limit).await.unwrap();
        list.into_iter().map(|function| function.arn.name.as_str().to_owned()).collect()
    };
    assert_eq!(list(None, 10).await, ["a", "a-2", "b", "c"]);
    assert_eq!(list(Some("a"), 2).await, ["a-2", "b"]);
    assert_eq!(functions.usage(&here.account, &here.region).await.unwrap(), (4, 6));

    assert!(has_package(&world, "a").await);
    functions.delete(&here).await.unwrap();
    assert!(has_package(&world, "a").await, "the other region still uses it");
    assert!(matches!(functions.get(&here).await, Err(Error::NotFound(_))));
    assert!(matches!(functions.delete(&here).await, Err(Error::NotFound(_))));
    functions.delete(&elsewhere("a").arn).await.unwrap();
    assert!(!has_package(&world, "a").await);
    assert_eq!(functions.usage(&here.account, &here.region).await.unwrap(), (3, 5));
}

#[tokio::test]
async fn one_of_many_that_create_the_same_name_wins() {
    let world = world().await;
    let attempts = (0..20).map(|n| {
        let functions = world.functions().clone();
        tokio::spawn(async move { functions.create(configuration("f"), zip(&format!("zip {n}"))).await })
    });
    let (mut won, mut lost) = (Vec::new(), 0);
    for attempt in attempts.collect::<Vec<_>>() {
        match attempt.await.unwrap() {
            Ok(function) => won.push(function),
            Err(Error::Exists(name)) if name.as_str() == "f" => lost += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!((won.len(), lost), (1, 19));
    let mut kept = 0;
    for n in 0..20 {
        let content = format!("zip {n}");
        if has_package(&world, &content).await {
            assert_eq!(won[0].code.sha256, sha256(&content));
            kept += 1;
        }
    }
    assert_eq!(kept, 1, "losers leave no package");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_package_lives_exactly_as_long_as_somebody_uses_it() {
    let world = Arc::new(world().await);
    let workers = (0..8).map(|n| {
        let world = Arc::clone(&world);
        tokio::spawn(async move {
            let name = format!("f{n}");
            for round in 0..30 {
                let functions = world.functions();
                functions.create(configuration(&name), zip("shared")).await.unwrap();
                assert!(has_package(&world, "shared").await);
                if round % 3 == 0 {
                    functions.update_code(&arn(&name), None, zip(&name), None, false).await.unwrap();
                    assert!(has_package(&world, &name).await);
                }
                assert!(world.handle.invoke(world.invocation(&name), false).await.is_ok());
                functions.delete(&arn(&name)).await.unwrap();
                assert!(!has_package(&world, &name).await);
            }
        })
    });
    for worker in workers.collect::<Vec<_>>() {
        worker.await.unwrap();
    }
    assert!(!has_package(&world, "shared").await);
    assert!(world.store.tables.scan("blob_marks", &[], &[0xff], 10, false).await.unwrap().is_empty());
    assert!(world.store.tables.scan("blob_uses", &[], &[0xff], 10, false).await.unwrap().is_empty());
    assert_eq!(world.functions().usage(&arn("f").account, &arn("f").region).await.unwrap(), (0, 0));
}

#[tokio::test]
async fn a_server_that_died_leaves_no_package_behind() {
    let world = world().await;
    world.create("used").await;
    let held = world.functions().inner.packages.put(zip("orphan")).await.unwrap();
    let held_too = world.functions().inner.packages.put(zip("used")).await.unwrap();
    drop((held, held_too)); // as a crash would: nobody sweeps
    assert!(has_package(&world, "orphan").await);
    world.again().await;
    assert!(!has_package(&world, "orphan").await);
    assert!(has_package(&world, "used").await);
}

#[tokio::test]
async fn slow_code_is_pending_and_becomes_active_or_failed() {
    let world = world().await;
    let functions = world.functions().clone();
    for (name, bad) in [("good", false), ("bad", true)] {
        if bad {
            world.script.bad_packages.lock().unwrap().push(sha256(name));
        }
        let slow = world.script.may_publish.acquire_many(1000).await.unwrap();
        let creating = tokio::spawn({
            let functions = functions.clone();
            async move { functions.create(configuration(name), zip(name)).await }
        });
        pass_until(&world, PATIENCE, || async { creating.is_finished() }).await;
        let made = creating.await.unwrap().unwrap();
        assert_eq!(made.state, State::Pending);
        assert!(matches!(world.handle.invoke(world.invocation(name), false).await, Err(InvokeError::NotReady(_))));
        let change = functions.update(&arn(name), None, Box::new(|function| function.timeout_s = 9)).await;
        assert!(matches!(change, Err(Error::UpdateInProgress(_))));
        drop(slow);
        eventually("it settles", || async { functions.get(&arn(name)).await.unwrap().state != State::Pending }).await;
        let settled = functions.get(&arn(name)).await.unwrap();
        assert_eq!(settled.revision_id, made.revision_id);
        if bad {
            assert!(matches!(settled.state, State::Failed { .. }), "{:?}", settled.state);
        } else {
            assert_eq!(settled.state, State::Active);
            assert!(world.handle.invoke(world.invocation(name), false).await.is_ok());
        }
    }
    // New code mends a function that failed.
    let mended = functions.update_code(&arn("bad"), None, zip("better"), None, false).await.unwrap();
    assert_eq!((mended.state, mended.last_update), (State::Active, LastUpdate::Successful));
    assert!(!has_package(&world, "bad").await);
}

/// Moves the clock until `check` holds; by one step of `step` mostly.
async fn pass_until<F: Future<Output = bool>>(world: &World, step: Duration, check: impl Fn() -> F) {
    for _ in 0..2_000 {
        tokio::time::sleep(Duration::from_millis(5)).await;
        if check().await {
            return;
        }
        world.clock.advance(step);
    }
    panic!("time does not help");
}

#[tokio::test]
async fn a_restart_takes_up_what_was_pending() {
    let world = world().await;
    let slow = world.script.may_publish.acquire_many(1000).await.unwrap();
    let functions = world.functions().clone();
    let creating = tokio::spawn({
        let functions = functions.clone();
        async move { functions.create(configuration("f"), zip("f")).await }
    });
    pass_until(&world, PATIENCE, || async { creating.is_finished() }).await;
    assert_eq!(creating.await.unwrap().unwrap().state, State::Pending);
    // The first server never comes to its end: it was waiting for a worker that is gone.
    let script = Arc::new(crate::testing::Script::new(Arc::new(world.clock.clone()), |_| async { fine() }));
    let clock = Arc::new(world.clock.clone());
    let (_, again) = crate::testing::start(&world.store, &script, clock, Limits::default(), Default::default()).await;
    eventually("it is active", || async { again.functions().get(&arn("f")).await.unwrap().state == State::Active })
        .await;
    drop(slow);
    assert!(world.handle.invoke(world.invocation("f"), false).await.is_ok());
}

#[tokio::test]
async fn code_that_never_gets_ready_fails_at_the_deadline() {
    let world = world().await;
    let _slow = world.script.may_publish.acquire_many(1000).await.unwrap();
    let functions = world.functions().clone();
    let creating = tokio::spawn({
        let functions = functions.clone();
        async move { functions.create(configuration("f"), zip("f")).await }
    });
    pass_until(&world, PATIENCE, || async { creating.is_finished() }).await;
    creating.await.unwrap().unwrap();
    pass_until(&world, Duration::from_secs(16 * 60), || async {
        functions.get(&arn("f")).await.unwrap().state != State::Pending
    })
    .await;
    let State::Failed { reason, code } = functions.get(&arn("f")).await.unwrap().state else { panic!() };
    assert_eq!((code.as_str(), reason.as_str()), ("InternalError", "the code was not ready after 15 minutes"));
}

#[tokio::test]
async fn bad_packages_are_refused_and_not_kept() {
    let world = world().await;
    world.script.bad_packages.lock().unwrap().push(sha256("bad"));
    let functions = world.functions();
    let refused = functions.create(configuration("f"), zip("bad")).await;
    assert!(matches!(refused, Err(Error::Code(_))), "{refused:?}");
    assert!(matches!(functions.get(&arn("f")).await, Err(Error::NotFound(_))));
    let made = world.create("f").await;
    for dry_run in [false, true] {
        let refused = functions.update_code(&arn("f"), None, zip("bad"), None, dry_run).await;
        assert!(matches!(refused, Err(Error::Code(_))), "{refused:?}");
    }
    assert_eq!(functions.get(&arn("f")).await.unwrap(), made);
    assert!(!has_package(&world, "bad").await);
}

#[tokio::test]
async fn updates_make_revisions_and_check_them() {
    let world = world().await;
    let functions = world.functions();
    let first = world.create("f").await;
    let second = functions
        .update(&arn("f"), Some(&first.revision_id), Box::new(|function| function.timeout_s = 9))
        .await
        .unwrap();
    assert_ne!(first.revision_id, second.revision_id);
    assert_eq!((second.timeout_s, &second.last_update), (9, &LastUpdate::Successful));
    let stale = functions.update(&arn("f"), Some(&first.revision_id), Box::new(|_| {})).await;
    assert!(matches!(stale, Err(Error::RevisionMismatch)));
    assert_eq!(*world.script.retired.lock().unwrap(), std::slice::from_ref(&first.revision_id));

    let dry = functions.update_code(&arn("f"), None, zip("dry"), None, true).await.unwrap();
    assert_eq!(dry.code.sha256, sha256("dry"));
    assert!(!has_package(&world, "dry").await);
    assert_eq!(functions.get(&arn("f")).await.unwrap(), second);

    let tag = |tags: &mut BTreeMap<String, String>| drop(tags.insert("team".to_owned(), "blue".to_owned()));
    let tagged = functions.update_tags(&arn("f"), Box::new(tag)).await.unwrap();
    assert_eq!((&tagged.revision_id, tagged.last_modified), (&second.revision_id, second.last_modified));
    assert_eq!(tagged.tags["team"], "blue");
    assert!(matches!(functions.update_tags(&arn("g"), Box::new(tag)).await, Err(Error::NotFound(_))));

    // Twenty at a time: each is applied.
    let changes = (0..20).map(|n: u32| {
        let functions = functions.clone();
        tokio::spawn(async move {
            let change = move |function: &mut FunctionConfiguration| {
                function.environment.insert(n.to_string(), String::new());
            };
            functions.update(&arn("f"), None, Box::new(change)).await.unwrap();
        })
    });
    for change in changes.collect::<Vec<_>>() {
        change.await.unwrap();
    }
    assert_eq!(functions.get(&arn("f")).await.unwrap().environment.len(), 20);
}

#[tokio::test]
async fn while_new_code_is_unpacked_calls_run_the_old() {
    let world = world().await;
    let functions = world.functions().clone();
    let old = world.create("f").await;
    let slow = world.script.may_publish.acquire_many(1000).await.unwrap();
    let updating = tokio::spawn({
        let functions = functions.clone();
        async move { functions.update_code(&arn("f"), None, zip("new"), None, false).await }
    });
    pass_until(&world, PATIENCE, || async { updating.is_finished() }).await;
    let shown = updating.await.unwrap().unwrap();
    assert_eq!((&shown.last_update, &shown.code.sha256), (&LastUpdate::InProgress, &sha256("new")));
    assert_eq!(functions.get(&arn("f")).await.unwrap(), shown);
    let again = functions.update(&arn("f"), None, Box::new(|_| {})).await;
    assert!(matches!(again, Err(Error::UpdateInProgress(_))));

    world.handle.invoke(world.invocation("f"), false).await.unwrap();
    assert_eq!(world.script.seen().last().unwrap().revision_id, old.revision_id);

    drop(slow);
    eventually("it settles", || async {
        functions.get(&arn("f")).await.unwrap().last_update == LastUpdate::Successful
    })
    .await;
    world.handle.invoke(world.invocation("f"), false).await.unwrap();
    assert_eq!(world.script.seen().last().unwrap().revision_id, shown.revision_id);
    eventually("the old revision is retired", || async {
        *world.script.retired.lock().unwrap() == std::slice::from_ref(&old.revision_id)
    })
    .await;
    eventually("the old package is gone", || has_package_not(&world, "f")).await;
}

async fn has_package_not(world: &World, content: &str) -> bool {
    !has_package(world, content).await
}

#[tokio::test]
async fn an_update_is_seen_by_the_next_call() {
    let world = world().await;
    world.create("f").await;
    let calling = tokio::spawn({
        let (handle, invocation) = (world.handle.clone(), world.invocation("f"));
        async move {
            loop {
                handle.invoke(invocation.clone(), false).await.unwrap();
            }
        }
    });
    for n in 1..50 {
        let change = move |function: &mut FunctionConfiguration| function.timeout_s = n;
        let updated = world.functions().update(&arn("f"), None, Box::new(change)).await.unwrap();
        let call = world.invocation("f");
        world.handle.invoke(call.clone(), false).await.unwrap();
        let seen = world.script.seen().into_iter().find(|seen| seen.request_id == call.request_id).unwrap();
        assert_eq!(seen.revision_id, updated.revision_id);
    }
    calling.abort();
}

#[tokio::test]
async fn an_account_has_at_most_so_many_functions() {
    let limits = Limits { functions: 3, ..Limits::default() };
    let world = World::with(limits, Default::default(), |_| async { fine() }).await;
    world.create("a").await;
    world.create("b").await;
    world.functions().create(elsewhere("c"), zip("c")).await.unwrap();
    let refused = world.functions().create(configuration("d"), zip("d")).await;
    assert!(matches!(refused, Err(Error::Limit(_))), "{refused:?}");
    assert!(!has_package(&world, "d").await);
    world.functions().delete(&arn("a")).await.unwrap();
    world.create("d").await;
}

#[tokio::test]
async fn another_runtime_is_published_again() {
    let world = world().await;
    world.create("f").await;
    world.script.bad_packages.lock().unwrap().push(sha256("f")); // as if it did not compile there
    let runtime = |function: &mut FunctionConfiguration| function.runtime = Runtime::Python { minor: 9 };
    let refused = world.functions().update(&arn("f"), None, Box::new(runtime)).await;
    assert!(matches!(refused, Err(Error::Code(_))), "{refused:?}");
}

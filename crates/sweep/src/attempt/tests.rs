use super::*;
use crate::manifest::tests::manifest;

#[test]
fn attempts_are_numbered_and_only_the_newest_counts() {
    let folder = tempfile::tempdir().unwrap();
    let (attempts, manifest) = (Attempts::of(folder.path()), manifest(4, 2));
    let mut first = attempts.claim(1, &manifest).unwrap();
    assert!(first.is_newest());
    let second = attempts.claim(1, &manifest).unwrap();
    let other = attempts.claim(0, &manifest).unwrap();
    assert!(!first.is_newest() && second.is_newest() && other.is_newest());
    first.tell(|a| a.state = State::Failed).unwrap();
    let all = attempts.all().unwrap();
    let seen: Vec<_> = all.iter().map(|a| (a.task, a.number, a.state)).collect();
    use State::{Failed, Running};
    assert_eq!(seen, [(0, 1, Running), (1, 1, Failed), (1, 2, Running)]);
}

#[test]
fn a_task_is_taken_over_from_another_machine_only_when_that_is_silent() {
    let folder = tempfile::tempdir().unwrap();
    let (attempts, manifest) = (Attempts::of(folder.path()), manifest(4, 2));
    let mut elsewhere = attempts.claim(1, &manifest).unwrap();
    elsewhere
        .tell(|a| a.who.process.host = "another-machine".into())
        .unwrap();
    let path = attempts.path(1, 1);
    let watched = Duration::from_secs(1);
    let touch = |when: SystemTime| {
        let file = fs::File::options().append(true).open(&path).unwrap();
        file.set_modified(when).unwrap();
    };
    let claim = || attempts.claim_watching(1, &manifest, watched);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(300));
            touch(SystemTime::now() + Duration::from_secs(5));
        });
        let error = claim().unwrap_err().to_string();
        assert!(error.contains("another-machine"), "{error}");
    });
    assert!(!attempts.is_lost(&attempts.at(1).unwrap()[0]));
    // Silent for long: taken over at once; and then while it is watched.
    touch(SystemTime::now() - Duration::from_secs(60));
    assert!(attempts.is_lost(&attempts.at(1).unwrap()[0]));
    assert_eq!(claim().unwrap().attempt().number, 2);
    let names = fs::read_dir(folder.path().join(FOLDER)).unwrap().count();
    assert_eq!(names, 2, "nothing is left over");
}

#[test]
fn what_a_signal_ends_is_recorded_as_stopped_unless_it_has_ended() {
    let folder = tempfile::tempdir().unwrap();
    let (attempts, manifest) = (Attempts::of(folder.path()), manifest(4, 2));
    let first = attempts.claim(0, &manifest).unwrap();
    let mut second = attempts.claim(1, &manifest).unwrap();
    second.tell(|a| a.state = State::Done).unwrap();
    for claim in [&first, &second] {
        claim.witness().stopped();
    }
    let all = attempts.all().unwrap();
    let states: Vec<_> = all.iter().map(|a| (a.state, a.cause)).collect();
    let stopped = (State::Stopped, Some(Cause::Signal));
    assert_eq!(states, [stopped, (State::Done, None)]);
}

#[test]
fn of_many_claims_at_once_every_one_has_its_own_number() {
    let folder = tempfile::tempdir().unwrap();
    let (attempts, manifest) = (Attempts::of(folder.path()), manifest(4, 2));
    let claim = || attempts.claim(0, &manifest).map(|c| c.attempt().number);
    let mut numbers: Vec<u32> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(claim)).collect();
        threads
            .into_iter()
            .map(|t| t.join().unwrap().unwrap())
            .collect()
    });
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=8).collect::<Vec<_>>());
}

#[test]
fn a_torn_record_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (attempts, manifest) = (Attempts::of(folder.path()), manifest(4, 2));
    drop(attempts.claim(0, &manifest).unwrap());
    fs::write(attempts.path(0, 1), "{ \"task\": 0").unwrap();
    let error = attempts.all().unwrap_err().to_string();
    assert!(error.contains("00000.1.json"), "{error}");
}

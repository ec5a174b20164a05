//! What becomes of outputs when the process is asked to stop while one is being finished.

use super::*;
use std::sync::mpsc;
use std::time::Duration;

/// A folder with so many files in it.
fn fill(folder: &Path, n: usize) {
    fs::create_dir(folder).unwrap();
    for i in 0..n {
        fs::write(folder.join(format!("{i}")), "x").unwrap();
    }
}

fn files(folder: &Path) -> usize {
    fs::read_dir(folder).map_or(0, Iterator::count)
}

/// Removes a folder file by file, and tells when it has begun.
fn slowly(path: &Path, begun: &mpsc::Sender<()>) -> io::Result<()> {
    let entries = fs::read_dir(path)?.flatten();
    for (i, entry) in entries.enumerate() {
        fs::remove_file(entry.path())?;
        if i == 2 {
            let _ = begun.send(());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    fs::remove_dir(path)
}

#[test]
fn what_is_given_up_while_it_is_finished_is_whole_or_absent() {
    const N: usize = 40;
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    // Other tests of this process write, too.
    let outputs: &'static Outputs = Box::leak(Box::new(Outputs::none()));
    let begin = |name: &str, existing| Aside::begin_among(outputs, &place(name), existing).unwrap();

    // Finished first: whole.
    let aside = begin("early", Existing::Refuse);
    fill(aside.partial(), N);
    aside.finish().unwrap();

    // An old result that is being replaced when the process is asked to stop.
    fill(&place("old"), N / 2);
    let replacing = begin("old", Existing::Replace);
    fill(replacing.partial(), N);

    let aside = begin("late", Existing::Refuse);
    fill(aside.partial(), N);
    let (begun, deletion_begun) = mpsc::channel();
    let finished = std::thread::scope(|scope| {
        let stopping = scope.spawn(move || {
            let given_up = outputs.give_up(|path| slowly(path, &begun));
            std::thread::sleep(Duration::from_millis(50));
            drop(given_up);
        });
        // The deletion has taken some of the files, and goes on.
        deletion_begun.recv().unwrap();
        let finished = [aside.finish(), replacing.finish()];
        stopping.join().unwrap();
        finished
    });
    assert_eq!(files(&place("early")), N);
    for (finished, name, before) in [(&finished[0], "late", 0), (&finished[1], "old", N / 2)] {
        let expected = if finished.is_ok() { N } else { before };
        assert_eq!(files(&place(name)), expected, "{name}: {finished:?}");
    }
    let hidden = |e: &fs::DirEntry| e.file_name().to_string_lossy().starts_with('.');
    let left = fs::read_dir(folder.path()).unwrap().flatten();
    assert_eq!(left.filter(hidden).count(), 0);
}

#[test]
fn leftovers_of_the_living_stay() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let output = folder.join("run");
    let mut other = std::process::Command::new("sleep")
        .arg("60")
        .spawn()
        .unwrap();
    let here = Process::here();
    let stat = fs::read_to_string(format!("/proc/{}/stat", other.id())).unwrap();
    let began = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(19);
    let alive = Process {
        pid: other.id(),
        ticks: began.unwrap().parse().ok(),
        ..here.clone()
    };
    let dead = Process {
        ticks: Some(1),
        ..alive.clone()
    };
    let elsewhere = Process {
        host: "another-machine".to_owned(),
        ..dead.clone()
    };
    let name = |of: &str, p: &Process, ending: &str| folder.join(format!(".{of}.{p}.{ending}"));
    let stays = [
        name("run", &alive, "partial"),
        name("run", &elsewhere, "partial"),
        name("running", &dead, "partial"),
        folder.join(".run.notes"),
    ];
    let goes = [
        name("run", &dead, "partial"),
        name("run", &dead, "discarded"),
    ];
    stays.iter().chain(&goes).for_each(|p| fill(p, 3));
    remove_leftovers(&output);
    assert!(stays.iter().all(|p| files(p) == 3));
    assert!(!goes.iter().any(|p| is_there(p)));
    remove_all_leftovers(&output);
    assert!(is_there(&stays[0]) && !is_there(&stays[1]) && is_there(&stays[2]));
    other.kill().unwrap();
    other.wait().unwrap();
    remove_leftovers(&output);
    assert!(!is_there(&stays[0]) && is_there(&stays[3]));
}

#[test]
fn what_was_replaced_comes_back_if_its_successor_never_came() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let output = folder.join("result");
    let dead = Process {
        ticks: Some(1),
        ..Process::here()
    };
    fill(&folder.join(format!(".result.{dead}.replaced")), 5);
    remove_leftovers(&output);
    assert_eq!(files(&output), 5);
}

#[test]
fn all_that_a_folder_holds_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out");
    write_aside(
        &path,
        Existing::Refuse,
        |partial| -> Result<(), StoreError> {
            let deep = partial.join("a/b");
            fs::create_dir_all(&deep).unwrap();
            for i in 0..3 * SYNCS_AT_ONCE + 1 {
                fs::write(deep.join(i.to_string()), "x").unwrap();
            }
            // Neither is a link followed, nor must it lead anywhere.
            std::os::unix::fs::symlink("/nowhere", partial.join("link")).unwrap();
            let mut all = Vec::new();
            list(partial, &mut all).unwrap();
            assert_eq!(all.len(), 3 * SYNCS_AT_ONCE + 1 + 3);
            assert_eq!(all.last().unwrap(), partial);
            Ok(())
        },
    )
    .unwrap();
    assert!(path.join("a/b/0").is_file());
    let nothing = write_aside(&folder.path().join("nothing"), Existing::Refuse, |_| {
        Ok::<_, StoreError>(())
    });
    assert!(matches!(nothing, Err(StoreError::Write { .. })));
}

#[test]
fn what_lies_in_another_output_reaches_the_disk_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let outer = Aside::begin(&folder.path().join("run"), Existing::Refuse).unwrap();
    fs::create_dir(outer.partial()).unwrap();
    let inner = Aside::begin(&outer.partial().join("mapping.zarr"), Existing::Refuse).unwrap();
    assert!(inner.is_part_of_another() && !outer.is_part_of_another());
    fs::write(inner.partial(), "whole").unwrap();
    inner.finish().unwrap();
    outer.finish().unwrap();
    let text = fs::read_to_string(folder.path().join("run/mapping.zarr"));
    assert_eq!(text.unwrap(), "whole");
}

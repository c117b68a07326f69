use std::os::unix::fs::PermissionsExt;

use tempfile::TempDir;

use super::*;

/// A directory of its own for each test, removed at the end.
struct Directory(TempDir);

impl Directory {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn register(&self, birth: Birth, random: u8) -> Registration {
        Registration::new(self.0.path(), NodeId::default(), birth, None, random).unwrap()
    }

    fn files(&self) -> Vec<String> {
        let mut files: Vec<_> = fs::read_dir(self.0.path().join("node-0"))
            .unwrap()
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.starts_with("instance-"))
            .collect();
        files.sort();
        files
    }
}

fn birth() -> Birth {
    Birth::first([7; 8])
}

#[test]
fn processes_find_each_other_and_those_that_end_are_gone() {
    let directory = Directory::new();
    let old = directory.register(birth(), 5);
    let new = directory.register(birth().next(), 5);
    assert_eq!(old.own().instance, InstanceId(5));
    assert_eq!(new.own().instance, InstanceId(6));
    assert!(new.own().birth.supersedes(old.own().birth));
    let scan = old.scan(|_| false).unwrap();
    assert_eq!(scan.live, [new.own()]);
    assert_eq!(scan.joined.len(), 1);
    assert!(new.listener().accept().is_ok());
    let known = old.scan(|entry| *entry == new.own()).unwrap();
    assert_eq!((known.live.len(), known.joined.len()), (1, 0));
    drop(old);
    assert!(new.scan(|_| false).unwrap().live.is_empty());
}

#[test]
fn the_socket_of_a_process_that_died_is_removed() {
    let directory = Directory::new();
    let new = directory.register(birth(), 1);
    let dead = Entry {
        instance: InstanceId(2),
        birth: birth().next(),
    };
    let path = directory.0.path().join("node-0").join(dead.file_name());
    drop(PacketSocket::listen(&path).unwrap());
    assert_eq!(directory.files().len(), 2);
    assert!(new.scan(|_| false).unwrap().live.is_empty());
    assert_eq!(directory.files(), [new.own().file_name()]);
}

#[test]
fn a_socket_is_for_its_owner_alone() {
    let directory = Directory::new();
    let own = directory.register(birth(), 1).own();
    assert!(directory.files().is_empty(), "{own:?}");
    let registered = directory.register(birth(), 1);
    let node = directory.0.path().join("node-0");
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!(mode(&node), 0o700);
    assert_eq!(mode(&node.join(registered.own().file_name())), 0o600);
}

#[test]
fn a_directory_that_others_can_use_is_refused() {
    let directory = Directory::new();
    fs::create_dir_all(directory.0.path().join("node-0")).unwrap();
    let open = fs::Permissions::from_mode(0o750);
    fs::set_permissions(directory.0.path().join("node-0"), open).unwrap();
    let refused = Registration::new(directory.0.path(), NodeId::default(), birth(), None, 0);
    assert!(matches!(
        refused,
        Err(InstancesError::Mode { mode: 0o750, .. })
    ));
}

#[test]
fn a_directory_of_another_user_is_refused() {
    let path = Path::new("node-0");
    judge(path, (7, 0o40700), 7).unwrap();
    let refused = judge(path, (8, 0o40700), 7);
    assert!(matches!(
        refused,
        Err(InstancesError::Owner { owner: 8, .. })
    ));
}

#[test]
fn a_new_process_avoids_the_instances_of_the_last_ones() {
    let directory = Directory::new();
    for _ in 0..REPEATS {
        let first = directory.register(birth(), 9).own().instance;
        let second = directory.register(birth(), 9).own().instance;
        assert_ne!(first, second);
    }
}

#[test]
fn an_instance_that_is_asked_for_is_refused_while_it_lives() {
    let directory = Directory::new();
    let fixed = |directory: &Directory| {
        let wanted = Some(InstanceId(3));
        Registration::new(directory.0.path(), NodeId::default(), birth(), wanted, 0)
    };
    let first = fixed(&directory).unwrap();
    assert!(matches!(
        fixed(&directory),
        Err(InstancesError::Taken(InstanceId(3)))
    ));
    drop(first);
    fixed(&directory).unwrap();
}

#[test]
fn the_last_free_instance_is_found_though_it_is_recent() {
    let all: Vec<_> = (0..=u8::MAX).map(InstanceId).collect();
    let (last, live) = all.split_last().unwrap();
    assert_eq!(draw(live, &[*last], 7), Some(*last));
    assert_eq!(draw(&all, &[], 7), None);
}

#[test]
fn names_of_files_are_read_back_and_others_are_passed_over() {
    let entry = Entry {
        instance: InstanceId(255),
        birth: birth().next(),
    };
    assert_eq!(entry.file_name(), "instance-255.0707070707070707-1.sock");
    assert_eq!(Entry::from_file_name(&entry.file_name()), Some(entry));
    for name in [
        "lock",
        "instance-.sock",
        "instance-256.07-1.sock",
        "instance-1.sock",
    ] {
        assert_eq!(Entry::from_file_name(name), None, "{name}");
    }
}

const REPEATS: usize = 40;

use super::*;
use std::io::Write as _;
use tempfile::TempDir;

struct Log {
    folder: TempDir,
}

impl Log {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn append(&self, bytes: impl AsRef<[u8]>) {
        let file = File::options().append(true).create(true).open(self.path());
        file.unwrap().write_all(bytes.as_ref()).unwrap();
    }

    fn rotate(&self) {
        std::fs::rename(self.path(), self.folder.path().join("log.1")).unwrap();
    }

    fn tail(&self) -> Tail {
        Tail::new(self.path(), None)
    }
}

/// Everything that is there, as texts; odd lines in angle brackets.
fn drain(tail: &mut Tail) -> Vec<String> {
    let mut texts = Vec::new();
    // Twice nothing is the end: a file that was replaced is looked at once more.
    let mut quiet = 0;
    while quiet < 3 {
        match tail.read().unwrap() {
            Some(lines) => {
                quiet = if lines.lines.is_empty() && !lines.more { quiet + 1 } else { 0 };
                assert_eq!(lines.lines.len(), lines.lines.len().min(MOST_LINES));
                texts.extend(lines.lines.iter().map(|line| match line {
                    Line::Text(text, _) => text.clone(),
                    Line::NotUtf8 => "<not utf-8>".to_owned(),
                    Line::TooLong => "<too long>".to_owned(),
                }));
                tail.advance(lines.then);
            }
            None => quiet += 1,
        }
    }
    texts
}

#[test]
fn a_line_counts_once_it_is_whole() {
    let log = Log::new();
    let mut tail = log.tail();
    assert_eq!(drain(&mut tail), Vec::<String>::new(), "it may come later");
    log.append("a\nb");
    assert_eq!(drain(&mut tail), ["a"]);
    log.append("c\n\nd\r\n");
    assert_eq!(drain(&mut tail), ["bc", "", "d\r"]);
}

#[test]
fn reading_without_advancing_gives_the_same() {
    let log = Log::new();
    log.append("a\nb\n");
    let mut tail = log.tail();
    let first = tail.read().unwrap();
    assert_eq!(tail.read().unwrap(), first);
    assert_eq!(drain(&mut tail), ["a", "b"]);
}

#[test]
fn rotation_by_renaming_loses_and_doubles_nothing() {
    let log = Log::new();
    log.append("a\n");
    let mut tail = log.tail();
    assert_eq!(drain(&mut tail), ["a"]);
    log.append("b\nlast words");
    log.rotate();
    assert_eq!(drain(&mut tail), ["b"], "no successor yet: it may still grow");
    log.append("c\n");
    assert_eq!(drain(&mut tail), ["last words", "c"]);
}

#[test]
fn rotation_while_we_were_down_is_followed() {
    let log = Log::new();
    log.append("a\n");
    let mut tail = log.tail();
    drain(&mut tail);
    let offset = tail.offset.clone();
    log.append("b\n");
    log.rotate();
    log.append("c\n");
    assert_eq!(drain(&mut Tail::new(log.path(), offset.clone())), ["b", "c"]);
    std::fs::remove_file(log.folder.path().join("log.1")).unwrap();
    assert_eq!(drain(&mut Tail::new(log.path(), offset)), ["c"], "what is gone is gone");
}

#[test]
fn a_file_that_was_cut_is_read_anew() {
    let log = Log::new();
    log.append("one\ntwo\n");
    let mut tail = log.tail();
    assert_eq!(drain(&mut tail), ["one", "two"]);
    File::create(log.path()).unwrap();
    log.append("3\n");
    assert_eq!(drain(&mut tail), ["3"], "shorter than before");
    File::create(log.path()).unwrap();
    log.append("longer than what was there before\nand more\n");
    assert_eq!(
        drain(&mut tail),
        ["longer than what was there before", "and more"],
        "known by its first bytes"
    );
    let offset = tail.offset.clone();
    File::create(log.path()).unwrap();
    log.append("as long as what was there before.\nor longer, while nobody looked\n");
    assert_eq!(drain(&mut Tail::new(log.path(), offset)).len(), 2);
}

#[test]
fn lines_of_two_files_never_have_the_same_name() {
    let log = Log::new();
    let mut tail = log.tail();
    let mut names = std::collections::BTreeSet::new();
    for _ in 0..3 {
        log.append("same\n");
        let lines = tail.read().unwrap().unwrap();
        let [Line::Text(_, name)] = lines.lines.as_slice() else { panic!("{lines:?}") };
        assert!(names.insert(name.clone()), "{name}");
        tail.advance(lines.then);
        // The new file may well get the inode of the old one.
        File::create(log.path()).unwrap();
        assert_eq!(tail.read().unwrap(), None);
    }
}

#[test]
fn rubbish_is_passed_over_and_told() {
    let log = Log::new();
    log.append(b"\xff\xfe\x00\x01\nok\n");
    log.append(vec![b'x'; LONGEST_LINE_BYTES + 1]);
    log.append("\n");
    log.append(vec![b'y'; 3 * CHUNK_BYTES]);
    let mut tail = log.tail();
    assert_eq!(drain(&mut tail), ["<not utf-8>", "ok", "<too long>"]);
    let offset = tail.offset.clone();
    log.append("zzz\nfine\n");
    assert_eq!(drain(&mut Tail::new(log.path(), offset)), ["<too long>", "fine"], "also across a restart");
    log.append(vec![0; 100]);
    assert_eq!(drain(&mut tail), ["<too long>", "fine"]);
}

#[test]
fn a_folder_or_a_pipe_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut tail = Tail::new(folder.path().to_owned(), None);
    assert!(tail.read().unwrap_err().to_string().contains("plain file"));
}

/// Whatever the order of writing, renaming, reading, repeating and restarting: every line once, and in its order.
#[test]
fn no_order_of_events_loses_or_doubles_a_line() {
    for seed in 0..200 {
        let mut chance = fastrand::Rng::with_seed(seed);
        let log = Log::new();
        let mut tail = log.tail();
        let (mut written, mut found) = (Vec::new(), Vec::new());
        let mut rotations = 0;
        let mut unread = false;
        for _ in 0..60 {
            match chance.u8(0..10) {
                0..4 => {
                    let line = format!("line {} {}", written.len(), "x".repeat(chance.usize(0..400)));
                    let (begin, end) = line.split_at(chance.usize(0..line.len()));
                    log.append(begin);
                    if chance.bool() {
                        // Looked at while the line is being written.
                        found.extend(read_once(&mut tail, chance.bool()));
                    }
                    log.append(format!("{end}\n"));
                    written.push(line);
                }
                // Once between two readings to the end: what lies between two generations is not looked for.
                4 if !unread && tail.offset.is_some() => {
                    rotations += 1;
                    std::fs::rename(log.path(), log.folder.path().join(format!("log.{rotations}"))).unwrap();
                    log.append("");
                    unread = true;
                }
                5 => {
                    found.extend(drain(&mut tail));
                    unread = false;
                }
                6 => tail = Tail::new(log.path(), tail.offset.clone()),
                7 => found.extend(read_once(&mut tail, false)),
                _ => found.extend(read_once(&mut tail, true)),
            }
        }
        found.extend(drain(&mut tail));
        assert_eq!(found, written, "seed {seed}");
    }
}

/// One look; its lines count only when they are dealt with.
fn read_once(tail: &mut Tail, dealt_with: bool) -> Vec<String> {
    let Some(lines) = tail.read().unwrap().filter(|_| dealt_with) else { return Vec::new() };
    tail.advance(lines.then);
    let text = |line| match line {
        Line::Text(text, _) => text,
        other => panic!("{other:?}"),
    };
    lines.lines.into_iter().map(text).collect()
}

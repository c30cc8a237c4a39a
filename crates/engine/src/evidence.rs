//! What the files of a program show of calls that the library would not see. Nothing shows what a program does; where its
//! files leave it open, they are evidence that it may.

use keepalive_sys::elf::Code;
use keepalive_sys::libraries::Libraries;
use keepalive_sys::program::{Program, privilege};
use std::io;
use std::path::{Path, PathBuf};

/// Why the library alone may not reach all connections of a program and of its children.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// The command is a script.
    Script(PathBuf),
    /// The file has system call instructions of its own.
    SystemCalls(PathBuf),
    /// The file calls these functions, which start or load others.
    Calls {
        /// The program, or a library that it requires.
        file: PathBuf,
        /// The function that starts programs.
        start: Option<&'static str>,
        /// The function that loads modules.
        load: Option<&'static str>,
    },
    /// The file cannot be looked into.
    Unseen(PathBuf, String),
}

/// The functions of the C library that execute a program (exec(3), posix_spawn(3), system(3), popen(3)).
const START: [&str; 14] = [
    "execve",
    "execv",
    "execvp",
    "execvpe",
    "execl",
    "execle",
    "execlp",
    "fexecve",
    "execveat",
    "posix_spawn",
    "posix_spawnp",
    "system",
    "popen",
    "_IO_popen",
];
/// The functions that load a module. RTLD_DEEPBIND and a namespace of its own (dlmopen(3)) hide the library from it.
const LOAD: [&str; 2] = ["dlopen", "dlmopen"];
/// The functions that change the files which a process sees.
const CHANGE_FILES: [&str; 6] = ["chroot", "pivot_root", "unshare", "setns", "mount", "umount2"];
/// The functions by which a program takes part in a connection.
const CONNECT: [&str; 2] = ["connect", "listen"];
/// Where set-user-ID programs are. Asking for other paths could start an automounter.
const PROGRAMS: [&str; 5] = ["/usr", "/bin", "/sbin", "/lib", "/opt"];

impl Evidence {
    /// Returns the evidence of the first of these files that has any: the command, its program, the libraries that the
    /// program requires.
    pub fn of(program: &Program) -> Option<Self> {
        if program.command != program.path {
            return Some(Self::Script(program.command.clone()));
        }
        Libraries::of(&program.path).find_map(|found| match found {
            Ok(mut code) => of_file(&mut code).unwrap_or_else(|error| Some(unseen(code.path(), &error))),
            Err((name, error)) => Some(unseen(&name, &error)),
        })
    }

    /// Returns whether the program may start others, which the library may not reach.
    pub fn is_of_children(&self) -> bool {
        !matches!(self, Self::SystemCalls(_) | Self::Calls { start: None, .. })
    }

    /// Returns whether the program may be reached by the library wholly, if it and its children are dynamic programs
    /// like most.
    pub fn is_only_possible(&self) -> bool {
        matches!(self, Self::Calls { .. })
    }

    /// Returns the evidence as a clause.
    pub fn describe(&self) -> String {
        match self {
            Self::Script(command) => format!("{} is a script, and may start any program", command.display()),
            Self::SystemCalls(file) => format!("{} has system call instructions of its own", file.display()),
            Self::Calls { file, start, load } => {
                let start = start.map(|name| format!("calls {name} and may start any program"));
                let load = load.map(|name| format!("loads modules, which may have their own symbol scope ({name})"));
                let both: Vec<String> = start.into_iter().chain(load).collect();
                format!("{} {}", file.display(), both.join(", and "))
            }
            Self::Unseen(file, why) => format!("{} cannot be looked into ({why})", file.display()),
        }
    }
}

fn of_file(code: &mut Code) -> io::Result<Option<Evidence>> {
    let file = code.path().to_owned();
    let names = [&START[..], &LOAD].concat();
    let imports = code.imports(&names)?;
    let first = |names: &[&'static str]| names.iter().find(|name| imports.contains(name)).copied();
    let (start, load) = (first(&START), first(&LOAD));
    if start.is_some() || load.is_some() {
        return Ok(Some(Evidence::Calls { file, start, load }));
    }
    Ok(code.makes_system_calls()?.then_some(Evidence::SystemCalls(file)))
}

fn unseen(file: &Path, error: &io::Error) -> Evidence {
    let why = match error.kind() {
        io::ErrorKind::FileTooLarge => String::from("too large"),
        io::ErrorKind::NotFound => String::from("not found"),
        _ => keepalive_sys::errno::describe(error),
    };
    Evidence::Unseen(file.to_owned(), why)
}

/// Returns the set-user-ID program, or one like it, that `program` or one of its libraries names by its path: starting
/// it may be a part of what the program does (sshfs and fusermount3). Returns `None` for a program that makes system
/// calls itself: no engine but the supervisor reaches it.
pub fn privileged_helper(program: &Program) -> Option<PathBuf> {
    let is_own = Code::open(&program.path).and_then(|code| code.makes_system_calls());
    if is_own.unwrap_or(true) {
        return None;
    }
    Libraries::of(&program.path).find_map(|found| {
        let paths = found.ok()?.paths().ok()?;
        let mut paths = paths.into_iter();
        paths.find(|path| PROGRAMS.iter().any(|root| path.starts_with(root)) && privilege(path).is_some())
    })
}

/// Returns whether `program` starts others where they may not find the library's file: it changes the root directory or
/// mounts, and makes no connection itself. Their loader would print an error.
pub fn may_hide_library(program: &Program) -> bool {
    let Ok(mut code) = Code::open(&program.path) else {
        return false;
    };
    let mut has = |names: &[&str]| code.imports(names).is_ok_and(|imports| !imports.is_empty());
    has(&CHANGE_FILES) && has(&START) && !has(&CONNECT)
}

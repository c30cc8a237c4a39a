//! Measures what `keepalive list` costs relative to ss(8), which shows less, and `keepalive attach` relative to `keepalive
//! list`: 10,000 sockets of one process. The commands take turns, so both have the same noise. The bench runs in its own
//! network, process and mount namespaces, without foreign sockets.
#![forbid(unsafe_code)]

mod harness;
#[allow(dead_code, reason = "other benches use more of it")]
mod target;

use std::fs::{self, Permissions};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use harness::status;
use rustix::net::sockopt;
use rustix::process::{Resource, Rlimit, geteuid, setrlimit};
use target::{Target, Targets};

type Error = Box<dyn std::error::Error>;

const USAGE: &str = "\
usage: cargo bench --bench list [-- [--quick] [--check]]
  --quick  a few rounds: whether it works, not what it costs
  --check  exit status 1 when a target is missed
";

/// Both ends of each connection belong to the holder.
const CONNECTIONS: u16 = 5000;
/// One row for each end, and one for the listener.
const ROWS: usize = 2 * CONNECTIONS as usize + 1;

/// How many times each command is run.
const ROUNDS: usize = 21;
const QUICK_ROUNDS: usize = 3;

/// A command prefix that runs a command as an ordinary user.
const NOBODY: [&str; 5] = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (mut is_bench, mut is_quick, mut checks, mut is_inside) = (false, false, false, false);
    for argument in &arguments {
        match argument.as_str() {
            // cargo passes `--bench` when it runs benches, and nothing when it runs this as a test.
            "--bench" => is_bench = true,
            "--quick" => is_quick = true,
            "--check" => checks = true,
            // This program executes itself with this argument.
            "--inside" => is_inside = true,
            "--hold" => return status(hold().map(|()| 0), false),
            _ => {
                eprint!("bench: unknown argument '{argument}'\n{USAGE}");
                return ExitCode::from(2);
            }
        }
    }
    if is_inside {
        return status(run(if is_bench && !is_quick { ROUNDS } else { QUICK_ROUNDS }), checks);
    }
    if let Some(why) = missing() {
        println!("no comparison of keepalive list with ss: {why}");
        return ExitCode::SUCCESS;
    }
    status(harness::go_inside(&[], "", &arguments), checks)
}

/// Returns why this machine cannot run the bench, if it cannot.
fn missing() -> Option<String> {
    if !geteuid().is_root() {
        return Some("only root sees all of a process".to_owned());
    }
    harness::missing_tool(&["ss", "ip", "unshare", "setpriv"])
}

/// Creates the sockets, reports that they exist, and keeps them until the end of standard input. Each byte that it reads
/// resets the options, so that attach sets each socket.
fn hold() -> Result<(), Error> {
    let limit = Some(2 * u64::from(CONNECTIONS) + 100);
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit,
            maximum: limit,
        },
    )?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let mut kept = Vec::new();
    for _ in 0..CONNECTIONS {
        kept.extend([TcpStream::connect(address)?, listener.accept()?.0]);
    }
    loop {
        for (place, socket) in kept.iter().enumerate() {
            let is_on = place % 2 == 0;
            sockopt::set_tcp_keepidle(socket, Duration::from_secs(if is_on { 60 } else { 7200 }))?;
            sockopt::set_tcp_keepintvl(socket, Duration::from_secs(75))?;
            sockopt::set_tcp_keepcnt(socket, 9)?;
            sockopt::set_socket_keepalive(socket, is_on)?;
        }
        println!("ready");
        if io::stdin().read(&mut [0])? == 0 {
            return Ok(());
        }
    }
}

/// The process with the sockets.
struct Holder {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Holder {
    fn start() -> Result<Self, Error> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("--hold")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = BufReader::new(child.stdout.take().ok_or("no pipe from the holder")?);
        let mut holder = Self { child, output };
        holder.wait()?;
        Ok(holder)
    }

    /// Waits until the sockets are ready.
    fn wait(&mut self) -> Result<(), Error> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        if line == "ready\n" {
            Ok(())
        } else {
            Err(format!("the sockets cannot be made: {}", self.child.wait()?).into())
        }
    }

    /// Resets the options of the sockets.
    fn reset(&mut self) -> Result<(), Error> {
        let input = self.child.stdin.as_mut().ok_or("no pipe to the holder")?;
        input.write_all(b"r")?;
        self.wait()
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        // The process ends when its input ends. An error of the wait is ignored.
        let _ = self.child.wait();
    }
}

/// A command, and its durations in milliseconds.
struct Contestant {
    name: &'static str,
    words: Vec<String>,
    times: Vec<f64>,
    /// Whether the command sets the sockets.
    sets: bool,
    target: Target,
}

impl Contestant {
    fn new(name: &'static str, words: &[&str]) -> Self {
        Self {
            name,
            words: words.iter().map(|&word| word.to_owned()).collect(),
            times: Vec::new(),
            sets: words.contains(&"attach"),
            target: Target::None,
        }
    }

    /// Sets the greatest ratio to the first contestant.
    fn at_most(self, ratio: f64) -> Self {
        Self {
            target: Target::AtMost(ratio),
            ..self
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.words[0]);
        command.args(&self.words[1..]).stdin(Stdio::null());
        command
    }

    /// Fails if the command does not show every socket: its durations would be meaningless.
    fn check(&self) -> Result<(), Error> {
        let output = self.command().output()?;
        let rows = String::from_utf8_lossy(&output.stdout).lines().count();
        if output.status.success() && rows >= ROWS {
            Ok(())
        } else {
            let errors = String::from_utf8_lossy(&output.stderr);
            Err(format!("{}: {rows} rows, {}: {errors}", self.name, output.status).into())
        }
    }

    fn run(&mut self) -> Result<(), Error> {
        let mut command = self.command();
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let start = Instant::now();
        let status = command.status()?;
        self.times.push(start.elapsed().as_secs_f64() * 1e3);
        if status.success() {
            Ok(())
        } else {
            Err(format!("{}: {status}", self.name).into())
        }
    }
}

/// Measures and prints everything. Returns the number of missed targets.
fn run(rounds: usize) -> Result<usize, Error> {
    let directory = tempfile::tempdir()?;
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755))?;
    // The copy is at a path where an ordinary user can execute it.
    let copy = directory.path().join("keepalive");
    fs::copy(Path::new(env!("CARGO_BIN_EXE_keepalive")), &copy)?;
    let keepalive = copy.to_str().ok_or("the path is not UTF-8")?;

    let mut holder = Holder::start()?;
    let mut targets = Targets::default();
    let pid = holder.child.id().to_string();
    println!(
        "{ROWS} sockets of one process. Medians of {rounds} rounds, in turn; each ratio is followed by its quartiles."
    );
    race(
        "as root: every socket exactly, with its processes",
        rounds,
        &mut holder,
        &mut targets,
        vec![
            Contestant::new("ss -tnopia", &["ss", "-tnopia"]),
            Contestant::new("keepalive list PID", &[keepalive, "list", &pid]).at_most(0.5),
            Contestant::new("keepalive list", &[keepalive, "list"]).at_most(0.5),
            Contestant::new("keepalive list --json", &[keepalive, "list", "--json"]),
        ],
    )?;
    race(
        "every socket set: three or four options each",
        rounds,
        &mut holder,
        &mut targets,
        vec![
            Contestant::new("keepalive list PID", &[keepalive, "list", &pid]),
            Contestant::new("keepalive attach PID", &[keepalive, "attach", &pid]).at_most(1.2),
        ],
    )?;
    let as_nobody = |words: &[&'static str]| [&NOBODY[..], words].concat();
    race(
        "as an ordinary user: what any user can see",
        rounds,
        &mut holder,
        &mut targets,
        vec![
            Contestant::new("ss -tnoa", &as_nobody(&["ss", "-tnoa"])),
            Contestant::new("keepalive list", &[&NOBODY[..], &[keepalive, "list"]].concat()),
        ],
    )?;
    Ok(targets.finish())
}

/// Lets the contestants take turns, and prints their durations, each relative to the first.
fn race(
    title: &str,
    rounds: usize,
    holder: &mut Holder,
    targets: &mut Targets,
    mut contestants: Vec<Contestant>,
) -> Result<(), Error> {
    for contestant in &contestants {
        contestant.check()?;
    }
    for round in 0..rounds {
        for step in 0..contestants.len() {
            // The order alternates in direction and begins with another contestant each time, so no contestant always
            // follows the same one.
            let step = if round % 2 == 0 {
                step
            } else {
                contestants.len() - 1 - step
            };
            let which = (step + round / 2) % contestants.len();
            if contestants[which].sets {
                holder.reset()?;
            }
            contestants[which].run()?;
        }
    }
    println!("\n{title}");
    for contestant in &contestants {
        let [_, median, _] = quartiles(contestant.times.iter().copied());
        print!("  {:<24}{median:>7.1} ms", contestant.name);
        if contestant.name != contestants[0].name {
            let ratios = contestant
                .times
                .iter()
                .zip(&contestants[0].times)
                .map(|(time, first)| time / first);
            let [low, median, high] = quartiles(ratios);
            print!("  {median:.2} × {} [{low:.2} {high:.2}]", contestants[0].name);
            print!("{}", targets.verdict(contestant.target, median, 2));
        }
        println!();
    }
    io::stdout().flush()?;
    Ok(())
}

/// Returns the first quartile, the median and the third quartile.
fn quartiles(figures: impl Iterator<Item = f64>) -> [f64; 3] {
    let mut sorted: Vec<f64> = figures.collect();
    sorted.sort_by(f64::total_cmp);
    [1, 2, 3].map(|n| sorted[(sorted.len() - 1) * n / 4])
}

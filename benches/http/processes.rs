//! What processes have used so far, as Linux counts it in `/proc`.

use std::collections::HashMap;
use std::fs;

use anyhow::Context;

/// In which `/proc` counts processor time, on every machine (`USER_HZ`, see proc(5)).
const TICKS_PER_SECOND: f64 = 100.0;

/// A process at one moment.
struct Process {
    name: String,
    parent: u32,
    /// Processor time, that of children which have ended included.
    ticks: u32,
}

/// Seconds of processor time that a process and all of its descendants have used, also those that have ended.
pub fn cpu_seconds(root: u32) -> anyhow::Result<f64> {
    let all = all()?;
    anyhow::ensure!(all.contains_key(&root), "process {root} has ended");
    let (mut ticks, mut tree) = (0, vec![root]);
    while let Some(pid) = tree.pop() {
        ticks += all.get(&pid).map_or(0, |process| process.ticks);
        tree.extend(all.iter().filter(|(_, process)| process.parent == pid).map(|(pid, _)| pid));
    }
    Ok(f64::from(ticks) / TICKS_PER_SECOND)
}

/// The child of this process whose program's name begins so.
pub fn child_named(name: &str) -> anyhow::Result<u32> {
    let this = std::process::id();
    let all = all()?;
    let found = all.iter().find(|(_, process)| process.parent == this && process.name.starts_with(name));
    found.map(|(pid, _)| *pid).with_context(|| format!("there is no child called {name}"))
}

/// The most memory that a process has had, in megabytes (of 1,000,000 bytes).
pub fn peak_memory(pid: u32) -> anyhow::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes: u32 = line.and_then(|line| line.split_whitespace().next()).context("no VmHWM")?.parse()?;
    Ok(f64::from(kibibytes) * 1024.0 / 1e6)
}

fn all() -> anyhow::Result<HashMap<u32, Process>> {
    let entries = fs::read_dir("/proc").context("the benchmark needs Linux's /proc")?;
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    // A process that ends in between is no longer there to be read.
    Ok(pids.filter_map(|pid| Some((pid, parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?))).collect())
}

/// A line of `/proc/PID/stat`: `PID (NAME) STATE PPID ...`, where the name may hold anything.
fn parse(stat: &str) -> Option<Process> {
    let (head, tail) = stat.rsplit_once(')')?;
    let (_, name) = head.split_once('(')?;
    let fields: Vec<&str> = tail.split_whitespace().collect();
    // utime, stime, cutime and cstime are fields 14 to 17 of the line; these begin with the third.
    let ticks = fields.get(11..15)?.iter().map(|field| field.parse::<u32>());
    Some(Process {
        name: name.to_owned(),
        parent: fields.get(1)?.parse().ok()?,
        ticks: ticks.sum::<Result<u32, _>>().ok()?,
    })
}

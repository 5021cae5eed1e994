//! System calls that are refused (seccomp(2)), in every thread and for good.
//!
//! A collector refuses what nobody who only watches needs. It is no list of what is allowed: name lookups run code
//! of the host's (nsswitch.conf(5) names libraries, which talk to daemons of theirs), and the allocator, TLS and
//! the own hub call what no test of ours has seen everywhere. The attach helper runs a loop of one page, and is
//! allowed exactly that.

use libc::{
    SYS_accept, SYS_accept4, SYS_acct, SYS_add_key, SYS_adjtimex, SYS_brk, SYS_chroot, SYS_clock_adjtime,
    SYS_clock_settime, SYS_clone, SYS_clone3, SYS_close, SYS_delete_module, SYS_execve, SYS_execveat,
    SYS_exit, SYS_exit_group, SYS_fanotify_init, SYS_finit_module, SYS_fsconfig, SYS_fsmount, SYS_fsopen,
    SYS_fspick, SYS_futex, SYS_getpid, SYS_gettid, SYS_init_module, SYS_io_uring_enter,
    SYS_io_uring_register, SYS_io_uring_setup, SYS_kcmp, SYS_kexec_file_load, SYS_kexec_load, SYS_keyctl,
    SYS_kill, SYS_listen, SYS_lookup_dcookie, SYS_madvise, SYS_migrate_pages, SYS_mknodat, SYS_mmap,
    SYS_mount, SYS_mount_setattr, SYS_move_mount, SYS_move_pages, SYS_munmap, SYS_nfsservctl,
    SYS_open_by_handle_at, SYS_open_tree, SYS_perf_event_open, SYS_personality, SYS_pidfd_getfd,
    SYS_pidfd_send_signal, SYS_pivot_root, SYS_process_madvise, SYS_process_vm_writev, SYS_ptrace,
    SYS_quotactl, SYS_quotactl_fd, SYS_read, SYS_reboot, SYS_request_key, SYS_restart_syscall,
    SYS_rt_sigaction, SYS_rt_sigprocmask, SYS_rt_sigqueueinfo, SYS_rt_sigreturn, SYS_rt_tgsigqueueinfo,
    SYS_sendmsg, SYS_setdomainname, SYS_setfsgid, SYS_setfsuid, SYS_setgid, SYS_setgroups, SYS_sethostname,
    SYS_setns, SYS_setregid, SYS_setresgid, SYS_setresuid, SYS_setreuid, SYS_settimeofday, SYS_setuid,
    SYS_sigaltstack, SYS_swapoff, SYS_swapon, SYS_syslog, SYS_tgkill, SYS_tkill, SYS_umount2, SYS_unshare,
    SYS_userfaultfd, SYS_vhangup, SYS_write, c_int, c_long,
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, apply_filter_all_threads,
};
use std::collections::BTreeMap;
use std::io;

/// What is left of the calls that are refused to most collectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Calls {
    /// Connections are taken: a hub is in the same process.
    pub serves: bool,
    /// Signals are sent to a program that was started here.
    pub signals: bool,
    /// A word is written to the watched program.
    pub writes: bool,
    /// Further processes are started.
    pub starts: bool,
}

/// Refused whatever a collector does.
const ALWAYS: &[c_long] = &[
    // Other processes: their execution, descriptors, memory.
    SYS_ptrace,
    SYS_kcmp,
    SYS_pidfd_getfd,
    SYS_process_madvise,
    SYS_move_pages,
    SYS_migrate_pages,
    // File systems and namespaces.
    SYS_mount,
    SYS_umount2,
    SYS_pivot_root,
    SYS_chroot,
    SYS_open_tree,
    SYS_move_mount,
    SYS_fsopen,
    SYS_fsconfig,
    SYS_fsmount,
    SYS_fspick,
    SYS_mount_setattr,
    SYS_setns,
    SYS_unshare,
    SYS_open_by_handle_at,
    SYS_fanotify_init,
    SYS_mknodat,
    SYS_quotactl,
    SYS_quotactl_fd,
    SYS_swapon,
    SYS_swapoff,
    // Another user.
    SYS_setuid,
    SYS_setgid,
    SYS_setreuid,
    SYS_setregid,
    SYS_setresuid,
    SYS_setresgid,
    SYS_setgroups,
    SYS_setfsuid,
    SYS_setfsgid,
    // The kernel and the machine.
    SYS_init_module,
    SYS_finit_module,
    SYS_delete_module,
    SYS_kexec_load,
    SYS_kexec_file_load,
    SYS_reboot,
    SYS_acct,
    SYS_syslog,
    SYS_sethostname,
    SYS_setdomainname,
    SYS_settimeofday,
    SYS_clock_settime,
    SYS_clock_adjtime,
    SYS_adjtimex,
    SYS_vhangup,
    SYS_nfsservctl,
    SYS_lookup_dcookie,
    // Parts of the kernel that were of more use for attacks than they are here. What is asked of an io_uring is
    // seen by no filter.
    SYS_keyctl,
    SYS_add_key,
    SYS_request_key,
    SYS_userfaultfd,
    SYS_io_uring_setup,
    SYS_io_uring_enter,
    SYS_io_uring_register,
    SYS_personality,
];

/// Of one architecture.
#[cfg(target_arch = "x86_64")]
const OF_ARCHITECTURE: &[c_long] = &[
    libc::SYS_mknod,
    libc::SYS_iopl,
    libc::SYS_ioperm,
    libc::SYS_modify_ldt,
    libc::SYS_uselib,
    libc::SYS__sysctl,
];
#[cfg(not(target_arch = "x86_64"))]
const OF_ARCHITECTURE: &[c_long] = &[];

const STARTS: &[c_long] = &[SYS_execve, SYS_execveat];
const SERVES: &[c_long] = &[SYS_listen, SYS_accept, SYS_accept4];
const WRITES: &[c_long] = &[SYS_process_vm_writev];
const SIGNALS: &[c_long] = &[
    SYS_kill,
    SYS_tkill,
    SYS_pidfd_send_signal,
    SYS_rt_sigqueueinfo,
    SYS_rt_tgsigqueueinfo,
];

/// Flags of clone(2) that make namespaces: in a new one for users, every capability can be had.
const NAMESPACES: [c_int; 7] = [
    libc::CLONE_NEWNS,
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
];

/// What the attach helper's loop calls, and what an allocation, a panic and an exit do.
const PROBES: &[c_long] = &[
    SYS_read,
    SYS_write,
    SYS_sendmsg,
    SYS_perf_event_open,
    SYS_close,
    SYS_mmap,
    SYS_munmap,
    SYS_madvise,
    SYS_brk,
    SYS_futex,
    SYS_sigaltstack,
    SYS_rt_sigaction,
    SYS_rt_sigprocmask,
    SYS_rt_sigreturn,
    SYS_restart_syscall,
    SYS_getpid,
    SYS_gettid,
    SYS_tgkill,
    SYS_exit,
    SYS_exit_group,
];

impl Calls {
    /// Refuses all others with `EPERM` from now on, in every thread of this process. Sets no_new_privs, too.
    ///
    /// # Errors
    ///
    /// The kernel has no filters, or a thread has one of its own.
    pub fn refuse_others(self) -> io::Result<()> {
        let mut refused: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
        for (list, is_refused) in [
            (ALWAYS, true),
            (OF_ARCHITECTURE, true),
            (STARTS, !self.starts),
            (SERVES, !self.serves),
            (WRITES, !self.writes),
            (SIGNALS, !self.signals),
        ] {
            if is_refused {
                refused.extend(list.iter().map(|call| (*call, Vec::new())));
            }
        }
        refused.insert(SYS_clone, namespaces()?);
        install(&compile(refused, SeccompAction::Allow, refuse(libc::EPERM))?)?;
        // Its flags lie in memory, where no filter sees them. Whoever finds that there is no such call takes clone.
        let unseen = BTreeMap::from([(SYS_clone3, Vec::new())]);
        let mut program = other_numbers();
        program.extend(compile(unseen, SeccompAction::Allow, refuse(libc::ENOSYS))?);
        install(&program)
    }
}

/// Allows what the attach helper needs to open uprobes and to pass them on; all else is `EPERM`.
pub(crate) fn leave_only_probes() -> io::Result<()> {
    let allowed = PROBES.iter().map(|call| (*call, Vec::new())).collect();
    let mut program = other_numbers();
    program.extend(compile(allowed, refuse(libc::EPERM), SeccompAction::Allow)?);
    install(&program)
}

/// Whether the kernel knows no such filters.
pub(super) fn is_unknown(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EINVAL))
}

const fn refuse(errno: c_int) -> SeccompAction {
    SeccompAction::Errno(errno.unsigned_abs())
}

/// A call with one of these flags.
fn namespaces() -> io::Result<Vec<SeccompRule>> {
    let rule = |flag: c_int| {
        let flag = u64::from(flag.cast_unsigned());
        let is_set = SeccompCmpOp::MaskedEq(flag);
        SeccompCondition::new(0, SeccompCmpArgLen::Qword, is_set, flag)
            .and_then(|condition| SeccompRule::new(vec![condition]))
            .map_err(io::Error::other)
    };
    NAMESPACES.into_iter().map(rule).collect()
}

fn compile(
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    otherwise: SeccompAction,
    listed: SeccompAction,
) -> io::Result<BpfProgram> {
    let architecture = TargetArch::try_from(std::env::consts::ARCH).map_err(io::Error::other)?;
    // It ends a process that calls by the numbers of another architecture.
    SeccompFilter::new(rules, otherwise, listed, architecture)
        .and_then(BpfProgram::try_from)
        .map_err(io::Error::other)
}

/// On x86-64 the same calls have further numbers, those of x32 (`__X32_SYSCALL_BIT`): there are none of them.
fn other_numbers() -> BpfProgram {
    const X32: u32 = 0x4000_0000;
    let instruction = |code: u32, jf, k| seccompiler::sock_filter {
        code: code as u16,
        jt: 0,
        jf,
        k,
    };
    if !cfg!(target_arch = "x86_64") {
        return Vec::new();
    }
    vec![
        // The number stands first in `struct seccomp_data`.
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
        instruction(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, 1, X32),
        instruction(
            libc::BPF_RET | libc::BPF_K,
            0,
            libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs(),
        ),
    ]
}

fn install(program: &BpfProgram) -> io::Result<()> {
    apply_filter_all_threads(program).map_err(|error| match error {
        seccompiler::Error::Prctl(error) | seccompiler::Error::Seccomp(error) => error,
        other => io::Error::other(other),
    })
}

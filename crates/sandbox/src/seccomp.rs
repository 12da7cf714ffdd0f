//! The system calls that code inside may make. Every entry says why it is there.
//!
//! Two filters. `boot` is installed before the interpreter starts and holds for init, zygote and calls alike: what it
//! does not list does not exist (ENOSYS), and what needs privilege is refused (EPERM). `call` is put on top by a clone:
//! from then on no process makes a namespace.

use crate::sys::{INSTANCE_FLAGS, NAMESPACE_FLAGS};
use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen::Dword, SeccompCmpOp as Is, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, sock_filter,
};
use std::collections::BTreeMap;

type Result<T> = std::result::Result<T, seccompiler::BackendError>;
type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Allowed with any arguments, in groups: why, then which.
const ALLOWED: &[(&str, &[c_long])] = &[
    (
        "read, write and position open files",
        &[
            libc::SYS_read,
            libc::SYS_write,
            libc::SYS_readv,
            libc::SYS_writev,
            libc::SYS_pread64,
            libc::SYS_pwrite64,
            libc::SYS_preadv,
            libc::SYS_pwritev,
            libc::SYS_preadv2,
            libc::SYS_pwritev2,
            libc::SYS_lseek,
            libc::SYS_close,
            libc::SYS_close_range,
            libc::SYS_fsync,
            libc::SYS_fdatasync,
            libc::SYS_sync_file_range,
            libc::SYS_ftruncate,
            libc::SYS_truncate,
            libc::SYS_fallocate,
            libc::SYS_fadvise64,
            libc::SYS_readahead,
            libc::SYS_sendfile,
            libc::SYS_copy_file_range,
            libc::SYS_splice,
            libc::SYS_tee,
            libc::SYS_vmsplice,
        ],
    ),
    (
        "find, make and change files: the mounts decide where",
        &[
            libc::SYS_openat,
            libc::SYS_openat2,
            libc::SYS_newfstatat,
            libc::SYS_fstat,
            libc::SYS_statx,
            libc::SYS_statfs,
            libc::SYS_fstatfs,
            libc::SYS_faccessat,
            libc::SYS_faccessat2,
            libc::SYS_readlinkat,
            libc::SYS_getdents64,
            libc::SYS_getcwd,
            libc::SYS_chdir,
            libc::SYS_fchdir,
            libc::SYS_mkdirat,
            libc::SYS_unlinkat,
            libc::SYS_renameat,
            libc::SYS_renameat2,
            libc::SYS_linkat,
            libc::SYS_symlinkat,
            libc::SYS_mknodat,
            libc::SYS_fchmod,
            libc::SYS_fchmodat,
            libc::SYS_fchown,
            libc::SYS_fchownat,
            libc::SYS_utimensat,
            libc::SYS_umask,
            libc::SYS_flock,
            libc::SYS_fcntl,
            libc::SYS_ioctl,
            libc::SYS_getxattr,
            libc::SYS_lgetxattr,
            libc::SYS_fgetxattr,
            libc::SYS_listxattr,
            libc::SYS_llistxattr,
            libc::SYS_flistxattr,
            libc::SYS_setxattr,
            libc::SYS_lsetxattr,
            libc::SYS_fsetxattr,
            libc::SYS_removexattr,
            libc::SYS_lremovexattr,
            libc::SYS_fremovexattr,
        ],
    ),
    (
        "memory of the process itself: allocators, huge pages, shared memory",
        &[
            libc::SYS_brk,
            libc::SYS_munmap,
            libc::SYS_mremap,
            libc::SYS_mprotect,
            libc::SYS_madvise,
            libc::SYS_msync,
            libc::SYS_mincore,
            libc::SYS_mlock,
            libc::SYS_mlock2,
            libc::SYS_munlock,
            libc::SYS_mlockall,
            libc::SYS_munlockall,
            libc::SYS_membarrier,
            libc::SYS_pkey_alloc,
            libc::SYS_pkey_free,
            libc::SYS_pkey_mprotect,
            libc::SYS_get_mempolicy,
            libc::SYS_set_mempolicy,
            libc::SYS_mbind,
        ],
    ),
    (
        "processes of one's own: start, wait, end. The pid namespace and the limits bound them",
        &[
            libc::SYS_execve,
            libc::SYS_execveat,
            libc::SYS_exit,
            libc::SYS_exit_group,
            libc::SYS_wait4,
            libc::SYS_waitid,
            libc::SYS_getpid,
            libc::SYS_getppid,
            libc::SYS_gettid,
            libc::SYS_getpgid,
            libc::SYS_setpgid,
            libc::SYS_getsid,
            libc::SYS_setsid,
            libc::SYS_pidfd_open,
            libc::SYS_pidfd_send_signal,
            libc::SYS_prctl,
            libc::SYS_getrusage,
            libc::SYS_times,
            libc::SYS_getpriority,
            libc::SYS_setpriority,
            libc::SYS_prlimit64,
            libc::SYS_getrlimit,
            libc::SYS_setrlimit,
            libc::SYS_ioprio_get,
            libc::SYS_ioprio_set,
        ],
    ),
    (
        "threads: libc's start and end of one, locks, scheduling of one's own",
        &[
            libc::SYS_futex,
            libc::SYS_futex_waitv,
            libc::SYS_set_robust_list,
            libc::SYS_get_robust_list,
            libc::SYS_set_tid_address,
            libc::SYS_rseq,
            libc::SYS_sched_yield,
            libc::SYS_sched_getaffinity,
            libc::SYS_sched_setaffinity,
            libc::SYS_sched_getparam,
            libc::SYS_sched_setparam,
            libc::SYS_sched_getscheduler,
            libc::SYS_sched_setscheduler,
            libc::SYS_sched_get_priority_max,
            libc::SYS_sched_get_priority_min,
            libc::SYS_sched_rr_get_interval,
            libc::SYS_sched_getattr,
            libc::SYS_getcpu,
        ],
    ),
    (
        "signals within the pid namespace",
        &[
            libc::SYS_rt_sigaction,
            libc::SYS_rt_sigprocmask,
            libc::SYS_rt_sigreturn,
            libc::SYS_rt_sigpending,
            libc::SYS_rt_sigtimedwait,
            libc::SYS_rt_sigqueueinfo,
            libc::SYS_rt_tgsigqueueinfo,
            libc::SYS_rt_sigsuspend,
            libc::SYS_sigaltstack,
            libc::SYS_kill,
            libc::SYS_tkill,
            libc::SYS_tgkill,
            libc::SYS_signalfd4,
            libc::SYS_restart_syscall,
        ],
    ),
    (
        "time and timers",
        &[
            libc::SYS_clock_gettime,
            libc::SYS_clock_getres,
            libc::SYS_clock_nanosleep,
            libc::SYS_nanosleep,
            libc::SYS_gettimeofday,
            libc::SYS_timer_create,
            libc::SYS_timer_settime,
            libc::SYS_timer_gettime,
            libc::SYS_timer_getoverrun,
            libc::SYS_timer_delete,
            libc::SYS_timerfd_create,
            libc::SYS_timerfd_settime,
            libc::SYS_timerfd_gettime,
            libc::SYS_getitimer,
            libc::SYS_setitimer,
        ],
    ),
    (
        "waiting for many files at once, pipes, events",
        &[
            libc::SYS_ppoll,
            libc::SYS_pselect6,
            libc::SYS_epoll_create1,
            libc::SYS_epoll_ctl,
            libc::SYS_epoll_pwait,
            libc::SYS_epoll_pwait2,
            libc::SYS_eventfd2,
            libc::SYS_pipe2,
            libc::SYS_dup,
            libc::SYS_dup3,
            libc::SYS_inotify_init1,
            libc::SYS_inotify_add_watch,
            libc::SYS_inotify_rm_watch,
        ],
    ),
    (
        "sockets once made (`socket` itself is limited by family): the network namespace decides whom they reach",
        &[
            libc::SYS_bind,
            libc::SYS_listen,
            libc::SYS_accept,
            libc::SYS_accept4,
            libc::SYS_connect,
            libc::SYS_getsockname,
            libc::SYS_getpeername,
            libc::SYS_getsockopt,
            libc::SYS_setsockopt,
            libc::SYS_sendto,
            libc::SYS_recvfrom,
            libc::SYS_sendmsg,
            libc::SYS_recvmsg,
            libc::SYS_sendmmsg,
            libc::SYS_recvmmsg,
            libc::SYS_shutdown,
        ],
    ),
    (
        "System V and POSIX inter-process communication: the ipc namespace is the instance's own",
        &[
            libc::SYS_shmat,
            libc::SYS_shmdt,
            libc::SYS_shmctl,
            libc::SYS_semget,
            libc::SYS_semop,
            libc::SYS_semtimedop,
            libc::SYS_semctl,
            libc::SYS_msgget,
            libc::SYS_msgsnd,
            libc::SYS_msgrcv,
            libc::SYS_msgctl,
            libc::SYS_mq_open,
            libc::SYS_mq_unlink,
            libc::SYS_mq_timedsend,
            libc::SYS_mq_timedreceive,
            libc::SYS_mq_notify,
            libc::SYS_mq_getsetattr,
        ],
    ),
    (
        "who am I, where am I, and giving up what one has",
        &[
            libc::SYS_getuid,
            libc::SYS_geteuid,
            libc::SYS_getgid,
            libc::SYS_getegid,
            libc::SYS_getresuid,
            libc::SYS_getresgid,
            libc::SYS_getgroups,
            libc::SYS_setuid,
            libc::SYS_setgid,
            libc::SYS_setreuid,
            libc::SYS_setregid,
            libc::SYS_setresuid,
            libc::SYS_setresgid,
            libc::SYS_setgroups,
            libc::SYS_setfsuid,
            libc::SYS_setfsgid,
            libc::SYS_capget,
            libc::SYS_capset,
            libc::SYS_uname,
            libc::SYS_sysinfo,
            libc::SYS_getrandom,
        ],
    ),
    (
        "restricting oneself further: a clone's second filter, sandboxes of the function's own",
        &[
            libc::SYS_seccomp,
            libc::SYS_landlock_create_ruleset,
            libc::SYS_landlock_add_rule,
            libc::SYS_landlock_restrict_self,
        ],
    ),
];

/// The older names of the same things, which only this architecture has.
#[cfg(target_arch = "x86_64")]
const ALLOWED_HERE: &[c_long] = &[
    libc::SYS_open,
    libc::SYS_creat,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_access,
    libc::SYS_readlink,
    libc::SYS_getdents,
    libc::SYS_mkdir,
    libc::SYS_rmdir,
    libc::SYS_unlink,
    libc::SYS_rename,
    libc::SYS_link,
    libc::SYS_symlink,
    libc::SYS_mknod,
    libc::SYS_chmod,
    libc::SYS_chown,
    libc::SYS_lchown,
    libc::SYS_utime,
    libc::SYS_utimes,
    libc::SYS_futimesat,
    libc::SYS_poll,
    libc::SYS_select,
    libc::SYS_epoll_create,
    libc::SYS_epoll_wait,
    libc::SYS_eventfd,
    libc::SYS_signalfd,
    libc::SYS_pipe,
    libc::SYS_dup2,
    libc::SYS_inotify_init,
    libc::SYS_fork,
    libc::SYS_vfork,
    libc::SYS_getpgrp,
    libc::SYS_pause,
    libc::SYS_alarm,
    libc::SYS_time,
    libc::SYS_arch_prctl,
];
#[cfg(not(target_arch = "x86_64"))]
const ALLOWED_HERE: &[c_long] = &[];

/// Refused with EPERM rather than ENOSYS, so that a program is told that it may not, and not that the kernel is old.
const REFUSED: &[c_long] = &[
    // What would change the walls.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_mount_setattr,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    // What looks into other processes.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_kcmp,
    libc::SYS_pidfd_getfd,
    libc::SYS_process_madvise,
    libc::SYS_process_mrelease,
    // What is the host's.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_syslog,
    libc::SYS_acct,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_quotactl,
    libc::SYS_vhangup,
    libc::SYS_nfsservctl,
    libc::SYS_lookup_dcookie,
    libc::SYS_open_by_handle_at,
    libc::SYS_name_to_handle_at,
    libc::SYS_fanotify_init,
    libc::SYS_migrate_pages,
    libc::SYS_move_pages,
    // Makes the whole machine write, and everybody else's writes wait.
    libc::SYS_sync,
    libc::SYS_syncfs,
    // Keyrings are shared by all processes of a uid, over namespaces.
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    // A large part of the kernel's past holes, and nothing that a function needs.
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
];

/// The filters of boot, in the order in which they are installed: of two refusals, the later one's errno is seen.
pub fn boot() -> Result<[BpfProgram; 2]> {
    let mut rules: Rules = ALLOWED
        .iter()
        .flat_map(|(_why, calls)| calls.iter())
        .chain(ALLOWED_HERE)
        .map(|call| (*call, Vec::new()))
        .collect();
    rules.insert(
        libc::SYS_clone,
        vec![
            // Processes and threads, in the namespaces where one is.
            rule(0, Is::MaskedEq(NAMESPACE_FLAGS as u64), 0)?,
            // What a zygote does for a call, and exactly that.
            rule(0, Is::Eq, (INSTANCE_FLAGS | libc::SIGCHLD) as u64)?,
        ],
    );
    // Memory, but for the host's reserved huge pages: no cgroup's memory limit counts them.
    rules.insert(libc::SYS_mmap, vec![rule(3, Is::MaskedEq(libc::MAP_HUGETLB as u64), 0)?]);
    rules.insert(libc::SYS_memfd_create, vec![rule(1, Is::MaskedEq(u64::from(libc::MFD_HUGETLB)), 0)?]);
    rules.insert(libc::SYS_shmget, vec![rule(2, Is::MaskedEq(libc::SHM_HUGETLB as u64), 0)?]);
    // Local, internet and (for libc's look at interfaces) route sockets. Others reach past namespaces or into old code.
    rules.insert(
        libc::SYS_socket,
        vec![
            rule(0, Is::Eq, libc::AF_UNIX as u64)?,
            rule(0, Is::Eq, libc::AF_INET as u64)?,
            rule(0, Is::Eq, libc::AF_INET6 as u64)?,
            SeccompRule::new(vec![
                condition(0, Is::Eq, libc::AF_NETLINK as u64)?,
                condition(2, Is::Eq, libc::NETLINK_ROUTE as u64)?,
            ])?,
        ],
    );
    rules.insert(libc::SYS_socketpair, vec![rule(0, Is::Eq, libc::AF_UNIX as u64)?]);
    // The ordinary personality, and asking for it (libc and debuggers do).
    rules.insert(libc::SYS_personality, vec![rule(0, Is::Eq, 0)?, rule(0, Is::Eq, 0xffff_ffff)?]);
    let allowed = filter(rules, SeccompAction::Errno(libc::ENOSYS as u32), SeccompAction::Allow)?;

    let refused = REFUSED.iter().map(|call| (*call, Vec::new())).collect();
    let refused = filter(refused, SeccompAction::Allow, SeccompAction::Errno(libc::EPERM as u32))?;
    Ok([allowed, refused])
}

/// The filter that a clone puts on top: no namespaces any more. Written by hand, since the kernel translates it for each
/// call: ten instructions instead of sixty. The filters below it, which stay, refuse all other ways.
pub fn call() -> BpfProgram {
    // Offsets in `struct seccomp_data`; of an argument, the lower half is first.
    const NUMBER: u32 = 0;
    const ARCHITECTURE: u32 = 4;
    const FIRST_ARGUMENT: u32 = 16;
    const AUDIT_ARCHITECTURE: u32 = if cfg!(target_arch = "x86_64") { 0xc000_003e } else { 0xc000_00b7 };
    let instruction = |code: u32, jt, jf, k| sock_filter { code: code as u16, jt, jf, k };
    let load = |offset| instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, offset);
    let result = |action| instruction(libc::BPF_RET | libc::BPF_K, 0, 0, action);
    vec![
        load(ARCHITECTURE),
        instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 1, 0, AUDIT_ARCHITECTURE),
        result(libc::SECCOMP_RET_KILL_PROCESS),
        load(NUMBER),
        instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 1, 0, libc::SYS_clone as u32),
        result(libc::SECCOMP_RET_ALLOW),
        load(FIRST_ARGUMENT),
        instruction(libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K, 0, 1, NAMESPACE_FLAGS as u32),
        result(libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
        result(libc::SECCOMP_RET_ALLOW),
    ]
}

/// A filter as the bytes of the kernel's `struct sock_filter` array, for a process that installs it itself.
pub fn to_bytes(program: &BpfProgram) -> Vec<u8> {
    program
        .iter()
        .flat_map(|instruction| {
            let [code_low, code_high] = instruction.code.to_ne_bytes();
            let [a, b, c, d] = instruction.k.to_ne_bytes();
            [code_low, code_high, instruction.jt, instruction.jf, a, b, c, d]
        })
        .collect()
}

fn filter(rules: Rules, otherwise: SeccompAction, on_match: SeccompAction) -> Result<BpfProgram> {
    let architecture = if cfg!(target_arch = "x86_64") { TargetArch::x86_64 } else { TargetArch::aarch64 };
    SeccompFilter::new(rules, otherwise, on_match, architecture)?.try_into()
}

fn rule(argument: u8, operator: Is, value: u64) -> Result<SeccompRule> {
    SeccompRule::new(vec![condition(argument, operator, value)?])
}

fn condition(argument: u8, operator: Is, value: u64) -> Result<SeccompCondition> {
    // Flags, families and protocols are 32 bits wide for the kernel, whatever the register's upper half holds.
    SeccompCondition::new(argument, Dword, operator, value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_compile_and_nothing_is_both_allowed_and_refused() {
        assert_eq!(boot().unwrap().len(), 2);
        assert!(!to_bytes(&call()).is_empty());
        for (_, calls) in ALLOWED {
            for call in *calls {
                assert!(!REFUSED.contains(call), "{call} is allowed and refused");
            }
        }
    }
}

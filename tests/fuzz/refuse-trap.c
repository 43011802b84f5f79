/* SPDX-License-Identifier: MIT
 *
 * refuse-trap.c - system calls that fail, whoever makes them.
 *
 * A filter turns each call of interest into SIGSYS, unless it is made by refuse_resume() below; the
 * signal's handler either answers as a kernel would that refuses, or makes the call by
 * refuse_resume().  So it can be decided anew each time, and differently in each thread.
 *
 * Of futex(2) only waits are refused, and only as a signal would, and only those made by
 * libc's syscall(): its own locks do not call that, and may run with SIGSYS blocked.  For the
 * same reason threads have stacks of ours, on which libc calls no madvise(2) at their exit.
 */
#define _GNU_SOURCE
#include "refuse.h"

#include <dlfcn.h>
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <ucontext.h>

enum { MAP = 1, UNMAP = 2, PURGE = 4, REMAP = 8, BARRIER = 16, WAIT = 32, ALL = 63 };

/* One in so many of these calls fails; 0: none. */
static _Thread_local unsigned refused, one_in;
static _Thread_local bool inside;
static _Thread_local struct choice dice;

static _Atomic unsigned long count;

#if defined(__x86_64__) || defined(__aarch64__)

/* What a filter sees as the address of a call is where it goes on. */
extern const char refuse_resumed[] __attribute__((visibility("hidden")));
/* With external linkage there is one of it, and one label in it. */
long refuse_resume(long number, const long argument[6]);

#if defined(__x86_64__)
enum { THIS_ARCH = AUDIT_ARCH_X86_64 };

__attribute__((noinline)) long refuse_resume(long number, const long argument[6])
{
	register long r10 __asm__("r10") = argument[3];
	register long r8 __asm__("r8") = argument[4];
	register long r9 __asm__("r9") = argument[5];

	__asm__ volatile("syscall\n"
			 ".globl refuse_resumed\n"
			 "refuse_resumed:\n"
			 : "+a"(number)
			 : "D"(argument[0]), "S"(argument[1]), "d"(argument[2]), "r"(r10),
			   "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return number;
}

static void read_arguments(const ucontext_t *context, long argument[6])
{
	static const int registers[] = { REG_RDI, REG_RSI, REG_RDX,
					 REG_R10, REG_R8,  REG_R9 };

	for (int i = 0; i < 6; i++)
		argument[i] = (long)context->uc_mcontext.gregs[registers[i]];
}

static void answer(ucontext_t *context, long result)
{
	context->uc_mcontext.gregs[REG_RAX] = result;
}
#else
enum { THIS_ARCH = (int)AUDIT_ARCH_AARCH64 };

__attribute__((noinline)) long refuse_resume(long number, const long argument[6])
{
	register long x8 __asm__("x8") = number;
	register long x0 __asm__("x0") = argument[0];
	register long x1 __asm__("x1") = argument[1];
	register long x2 __asm__("x2") = argument[2];
	register long x3 __asm__("x3") = argument[3];
	register long x4 __asm__("x4") = argument[4];
	register long x5 __asm__("x5") = argument[5];

	__asm__ volatile("svc #0\n"
			 ".globl refuse_resumed\n"
			 "refuse_resumed:\n"
			 : "+r"(x0)
			 : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
			 : "memory");
	return x0;
}

static void read_arguments(const ucontext_t *context, long argument[6])
{
	for (int i = 0; i < 6; i++)
		argument[i] = (long)context->uc_mcontext.regs[i];
}

static void answer(ucontext_t *context, long result)
{
	context->uc_mcontext.regs[0] = (unsigned long)result;
}
#endif

/* The errno with which the kernel might refuse it; 0: it is not to be refused. */
static int refusal(long number, const long argument[6])
{
	switch (number) {
	case SYS_mmap:
		return refused & MAP ? ENOMEM : 0;
	case SYS_munmap:
		return refused & UNMAP ? ENOMEM : 0;
	case SYS_madvise:
		return refused & PURGE ? choose(&dice, 2) ? EAGAIN : EINVAL : 0;
	case SYS_mremap:
		return refused & REMAP ? ENOMEM : 0;
	case SYS_membarrier:
		return refused & BARRIER ? EPERM : 0;
	default:
		return refused & WAIT && (argument[1] & FUTEX_CMD_MASK) == FUTEX_WAIT
			       ? EINTR
			       : 0;
	}
}

static void on_trap(int number, siginfo_t *info, void *pointer)
{
	ucontext_t *context = pointer;
	long argument[6];
	int error = 0;

	(void)number;
	read_arguments(context, argument);
	if (inside && one_in && choose(&dice, one_in) == 0)
		error = refusal(info->si_syscall, argument);
	if (error)
		atomic_fetch_add_explicit(&count, 1, memory_order_relaxed);
	answer(context, error ? -error : refuse_resume(info->si_syscall, argument));
}

#define LOW(field) ((unsigned)offsetof(struct seccomp_data, field))
#define LOAD(offset) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offset)
#define IF(comparison, value, yes, no) \
	BPF_JUMP(BPF_JMP | BPF_K | (comparison), (unsigned)(value), yes, no)
#define ANSWER(value) BPF_STMT(BPF_RET | BPF_K, value)

static bool install_filter(void)
{
	uintptr_t here = (uintptr_t)refuse_resumed;
	uintptr_t libc = (uintptr_t)dlsym(RTLD_DEFAULT, "syscall");
	struct sock_filter filter[] = {
		/* 0 */ LOAD(LOW(arch)),
		/* 1 */ IF(BPF_JEQ, THIS_ARCH, 0, 14),
		/* 2 */ LOAD(LOW(nr)),
		/* 3 */ IF(BPF_JEQ, SYS_futex, 8, 0),
		/* 4 */ IF(BPF_JEQ, SYS_mmap, 4, 0),
		/* 5 */ IF(BPF_JEQ, SYS_munmap, 3, 0),
		/* 6 */ IF(BPF_JEQ, SYS_madvise, 2, 0),
		/* 7 */ IF(BPF_JEQ, SYS_mremap, 1, 0),
		/* 8 */ IF(BPF_JEQ, SYS_membarrier, 0, 7),
		/* 9: not refuse_resume()'s own; the upper half of an address tells enough else */
		LOAD(LOW(instruction_pointer)),
		/* 10 */ IF(BPF_JEQ, here, 5, 0),
		/* 11 */ ANSWER(SECCOMP_RET_TRAP),
		/* 12: a futex, by syscall()? */
		LOAD(LOW(instruction_pointer)),
		/* 13 */ IF(BPF_JGE, libc, 0, 2),
		/* 14 */ IF(BPF_JGE, libc + 64, 1, 0),
		/* 15 */ ANSWER(SECCOMP_RET_TRAP),
		/* 16 */ ANSWER(SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof(filter) / sizeof(filter[0]), filter };

	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
	       syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) == 0;
}

bool refuse_init(void)
{
	struct sigaction action = { .sa_sigaction = on_trap,
				    .sa_flags = SA_SIGINFO | SA_NODEFER };

	return sigaction(SIGSYS, &action, NULL) == 0 && install_filter();
}

#else

bool refuse_init(void)
{
	return false;
}

#endif

void refuse_some(struct choice *choice)
{
	refused = 1 + (unsigned)choose(choice, ALL);
	one_in = 1 + (unsigned)choose(choice, 4);
	dice = (struct choice){ .state = choose(choice, UINT32_MAX) };
}

void refuse_none(void)
{
	one_in = 0;
}

bool refuse_any(void)
{
	return one_in != 0;
}

void refuse_enter(void)
{
	inside = true;
}

void refuse_leave(void)
{
	inside = false;
}

unsigned long refuse_count(void)
{
	return atomic_load(&count);
}

/* SPDX-License-Identifier: MIT
 *
 * percpu.pml - mark, fence, take, resume on the magazines of CPUs; see README.
 *
 * Owners run the sequences of lib/rseq-x86_64.h one instruction at a time; before each,
 * the kernel may interrupt them, let another run, move them to another CPU.  A stopper
 * flushes over and over.  At every step each block lies in exactly one place: below count
 * of one magazine, with one owner, or in the slabs.
 *
 * Each of these leaves out what the protocol needs, and must be found out:
 *   -DNO_FENCE     the stopper takes right after the mark
 *   -DFENCE_FIRST  the fence is made before the mark
 *   -DLOAD_EARLY   the distance is loaded before the sequence begins
 */
#define OWNERS   2
#define CPUS     2
#define BLOCKS   3
#define CAPACITY 2

#define OFF  CPUS   /* of place[]: does not run */
#define NONE BLOCKS /* of held[]: no block */

/* Operations, each a sequence. */
#define POP    0
#define PUSH   1
#define SPILL  2 /* pop a batch of two, under the class's lock */
#define REFILL 3 /* push a batch of two, under the class's lock */

/* The next instruction: outside of all sequences, in one, at its abort handler. */
#define OUTSIDE    0
#define LOAD_ID    1
#define LOAD_TABLE 2
#define LOAD_COUNT 3
#define ARRAY      4
#define ARRAY2     5 /* batches only */
#define COMMIT     6
#define ABORTED    7

#ifdef LOAD_EARLY
#define FIRST LOAD_COUNT
#else
#define FIRST LOAD_ID
#endif
#define IN_SEQUENCE(o) (pc[o] >= FIRST && pc[o] <= COMMIT)
#define LOCKED(o)      (operation[o] >= SPILL)

/* The owners: where each runs, what it is at, its registers. */
byte place[OWNERS] = OFF, operation[OWNERS], pc[OWNERS];
byte id[OWNERS], n[OWNERS], b[OWNERS], b2[OWNERS];

/* The library.  A set has one magazine, of one class. */
bool table[CPUS] = true;
byte count[CPUS];
byte blocks[CPUS * CAPACITY];
bool class_lock;
bool in_slab[BLOCKS] = true; /* depot and slabs: free, and in no magazine */

/* For the properties alone. */
byte held[OWNERS] = NONE;
byte given[CPUS];   /* so many of the magazine's blocks are in the slabs already */
bool drained[CPUS]; /* taken, and not yet resumed */

/* 0 outside of check(). */
byte block, i_, set, slot, places;

/* No block is lost, none is in two places. */
inline check()
{
	d_step {
		block = 0;
		do
		:: block < BLOCKS ->
			places = in_slab[block];
			i_ = 0;
			do
			:: i_ < OWNERS -> places = places + (held[i_] == block); i_++
			:: else -> break
			od;
			set = 0;
			do
			:: set < CPUS ->
				slot = given[set];
				do
				:: slot < count[set] ->
					places = places +
						 (blocks[set * CAPACITY + slot] == block);
					slot++
				:: else -> break
				od;
				set++
			:: else -> break
			od;
			assert(places == 1);
			block++
		:: else -> break
		od;
		block = 0;
		i_ = 0;
		set = 0;
		slot = 0;
		places = 0
	}
}

inline forget(o)
{
	id[o] = 0;
	n[o] = 0;
	b[o] = 0;
	b2[o] = 0
}

/* What the kernel does to a thread that it has interrupted, whatever for. */
inline restart(o)
{
	if
	:: IN_SEQUENCE(o) ->
		forget(o);
		/* The handler has nothing to do but where a lock is to be dropped. */
		pc[o] = (LOCKED(o) -> ABORTED : OUTSIDE);
		operation[o] = (LOCKED(o) -> operation[o] : POP)
	:: else
	fi
}

#define IS_FREE(cpu) (place[0] != cpu && place[1] != cpu)

/*
 * Stop running, run on a CPU that is free.  A signal to a thread that stays where it is
 * does what these two do, one after the other.
 */
active proctype kernel()
{
	byte o;

	do
	:: atomic {
		select(o : 0 .. OWNERS - 1);
		if
		:: place[o] != OFF -> place[o] = OFF; restart(o)
		:: place[o] == OFF && IS_FREE(0) -> place[o] = 0
		:: place[o] == OFF && IS_FREE(1) -> place[o] = 1
		fi;
		o = 0
	}
	od
}

#define BEGIN(what) operation[me] = what; pc[me] = LOAD_ID
#define BEGIN_LOCKED(what) class_lock = true; BEGIN(what)
#define TAKE(block) in_slab[block] = false; held[me] = block; check()

/* Nothing to be had in this magazine, or done. */
inline leave(o)
{
	if
	:: LOCKED(o) -> class_lock = false
	:: else
	fi;
	forget(o);
	operation[o] = POP;
	pc[o] = OUTSIDE
}

#define HERE (id[me] * CAPACITY)

/* The sequence's last instruction.  What was drained stays empty until it is resumed. */
inline commit(value)
{
	assert(!drained[id[me]]);
	count[id[me]] = value
}

proctype owner(byte me)
{
	do
	/* malloc() and free() pop and push; slow paths spill and refill, or do without. */
	:: atomic { place[me] != OFF && pc[me] == OUTSIDE ->
		if
		:: held[me] == NONE -> BEGIN(POP)
		:: held[me] != NONE -> BEGIN(PUSH)
		:: !class_lock -> BEGIN_LOCKED(SPILL)
		/* The slabs give out their blocks in the order of addresses. */
		:: !class_lock && in_slab[0] && in_slab[1] ->
			BEGIN_LOCKED(REFILL); b[me] = 0; b2[me] = 1
		:: !class_lock && in_slab[0] && !in_slab[1] && in_slab[2] ->
			BEGIN_LOCKED(REFILL); b[me] = 0; b2[me] = 2
		:: !class_lock && !in_slab[0] && in_slab[1] && in_slab[2] ->
			BEGIN_LOCKED(REFILL); b[me] = 1; b2[me] = 2
		:: !class_lock && held[me] == NONE && in_slab[0] -> TAKE(0)
		:: !class_lock && held[me] == NONE && !in_slab[0] && in_slab[1] -> TAKE(1)
		:: !class_lock && held[me] == NONE && !in_slab[0] && !in_slab[1] &&
		   in_slab[2] -> TAKE(2)
		:: !class_lock && held[me] != NONE ->
			in_slab[held[me]] = true; held[me] = NONE; check()
		fi
	}
	:: atomic { place[me] != OFF && pc[me] == LOAD_ID ->
		id[me] = place[me];
		pc[me] = LOAD_TABLE
	}
	/* No set: the set `none', where nothing can be done. */
	:: atomic { place[me] != OFF && pc[me] == LOAD_TABLE ->
		if
		:: table[id[me]] -> pc[me] = LOAD_COUNT
		:: else -> leave(me)
		fi
	}
	:: atomic { place[me] != OFF && pc[me] == LOAD_COUNT ->
		n[me] = count[id[me]];
		if
		:: operation[me] == POP && n[me] >= 1 -> pc[me] = ARRAY
		:: operation[me] == SPILL && n[me] >= 2 -> pc[me] = ARRAY
		:: operation[me] == PUSH && n[me] + 1 <= CAPACITY -> pc[me] = ARRAY
		:: operation[me] == REFILL && n[me] + 2 <= CAPACITY -> pc[me] = ARRAY
		:: else -> leave(me)
		fi
	}
	:: atomic { place[me] != OFF && pc[me] == ARRAY ->
		pc[me] = (LOCKED(me) -> ARRAY2 : COMMIT);
		if
		:: operation[me] == POP -> b[me] = blocks[HERE + n[me] - 1]
		:: operation[me] == PUSH -> blocks[HERE + n[me]] = held[me]
		:: operation[me] == SPILL -> b2[me] = blocks[HERE + n[me] - 1]
		:: operation[me] == REFILL -> blocks[HERE + n[me] + 1] = b2[me]
		fi
	}
	:: atomic { place[me] != OFF && pc[me] == ARRAY2 ->
		pc[me] = COMMIT;
		if
		:: operation[me] == SPILL -> b[me] = blocks[HERE + n[me] - 2]
		:: operation[me] == REFILL -> blocks[HERE + n[me]] = b[me]
		fi
	}
	:: atomic { place[me] != OFF && pc[me] == COMMIT ->
		if
		:: operation[me] == POP ->
			commit(n[me] - 1);
			held[me] = b[me]
		:: operation[me] == PUSH ->
			commit(n[me] + 1);
			held[me] = NONE
		:: operation[me] == SPILL ->
			commit(n[me] - 2);
			assert(!in_slab[b[me]] && !in_slab[b2[me]]);
			in_slab[b[me]] = true;
			in_slab[b2[me]] = true
		:: operation[me] == REFILL ->
			commit(n[me] + 2);
			in_slab[b[me]] = false;
			in_slab[b2[me]] = false
		fi;
		leave(me);
		check()
	}
	:: atomic { place[me] != OFF && pc[me] == ABORTED -> leave(me) }
	od
}

/* hk_rseq_fence(): an interrupt to one CPU after the other restarts whoever runs there. */
inline interrupt(cpu)
{
	atomic {
		i = 0;
		do
		:: i < OWNERS && place[i] == cpu -> restart(i); i++
		:: i < OWNERS && place[i] != cpu -> i++
		:: else -> break
		od;
		i = 0
	}
}

inline fence()
{
	interrupt(0);
	interrupt(1)
}

/* hk_set_drain(): block by block, under the class's lock. */
inline drain(cpu)
{
	atomic { !class_lock -> class_lock = true }
	k = count[cpu];
	do
	:: atomic { i < k ->
		/* A bit that is set already is a double free. */
		assert(!in_slab[blocks[cpu * CAPACITY + i]]);
		in_slab[blocks[cpu * CAPACITY + i]] = true;
		i++;
		given[cpu] = i;
		check()
	}
	:: atomic { i == k -> break }
	od;
	atomic {
		count[cpu] = 0;
		given[cpu] = 0;
		drained[cpu] = true;
		class_lock = false;
		i = 0;
		k = 0;
		check()
	}
}

inline resume(cpu)
{
	atomic {
		assert(count[cpu] == 0);
		drained[cpu] = false;
		table[cpu] = true
	}
}

proctype stopper()
{
	byte i, k;

	do
	::
#ifdef FENCE_FIRST
		fence();
#endif
		table[0] = false;
		table[1] = false;
#if !defined(NO_FENCE) && !defined(FENCE_FIRST)
		fence();
#endif
		if
		:: drain(0);
			drain(1);
			resume(0);
			resume(1)
		/* The kernel refused the fence: no set is reached. */
		:: atomic { table[0] = true; table[1] = true }
		fi
	od
}

init {
	atomic {
		run owner(0);
		run owner(1);
		run stopper()
	}
}

/* SPDX-License-Identifier: MIT
 *
 * perthread.pml - mark, fence, take, resume on the magazine of a thread; see README.
 *
 * The owner's stores wait in a buffer and reach memory later, in any order but that a
 * release store waits for those before it; loads do not wait for stores at all.  That is
 * weaker than x86-64 and as weak as aarch64.  Only a fence empties the buffer, and on the
 * fast path there is none but the stopper's membarrier.  At every step each block lies in
 * exactly one place: below count of the magazine, with the owner, or in the slabs.
 *
 * Each of these leaves out what the protocol needs, and must be found out:
 *   -DNO_FENCE      the stopper looks at inside right after the mark
 *   -DFENCE_FIRST   the fence is made before the mark
 *   -DNO_HANDSHAKE  the stopper does not look at inside
 */
#define BLOCKS   3
#define CAPACITY 2
#define STORES   4 /* as many as an operation makes */
#define NONE     BLOCKS

/* The addresses of stores: the array, and behind it */
#define COUNT  CAPACITY
#define INSIDE (CAPACITY + 1)
#define CELLS  (CAPACITY + 2)

/* Memory, as the stopper sees it. */
byte memory[CELLS];
bool stopped;

/* The owner's store buffer, the oldest store first. */
byte pending, address[STORES], value[STORES];

/* The depot and the slabs.  Who takes their lock makes a full fence by that. */
bool in_slab[BLOCKS] = true;

/* For the properties alone: what commits, and what was taken, have made of it. */
byte held = NONE;
byte count, blocks[CAPACITY], given;
bool taken; /* the stopper has drained the magazine, and has not let go of it */

/* 0 outside of the d_steps. */
byte i_, block, places;

inline check()
{
	d_step {
		block = 0;
		do
		:: block < BLOCKS ->
			places = in_slab[block] + (held == block);
			i_ = given;
			do
			:: i_ < count -> places = places + (blocks[i_] == block); i_++
			:: else -> break
			od;
			assert(places == 1);
			block++
		:: else -> break
		od;
		i_ = 0;
		block = 0;
		places = 0
	}
}

/* Those before it are other cells' stores, and it need not wait for them. */
#define IS_RELEASE(k) (address[k] == COUNT || (address[k] == INSIDE && !value[k]))
#define MAY_PASS(k, j) (address[k] != address[j] && !IS_RELEASE(k))

/* The store at this place of the buffer reaches memory. */
inline write_out(k)
{
	d_step {
		memory[address[k]] = value[k];
		pending--;
		i_ = k;
		do
		:: i_ < pending ->
			address[i_] = address[i_ + 1];
			value[i_] = value[i_ + 1];
			i_++
		:: else -> break
		od;
		address[pending] = 0;
		value[pending] = 0;
		i_ = 0
	}
}

active proctype store_buffer()
{
	do
	:: atomic { pending > 0 -> write_out(0) }
	:: atomic { pending > 1 && MAY_PASS(1, 0) -> write_out(1) }
	:: atomic { pending > 2 && MAY_PASS(2, 0) && MAY_PASS(2, 1) -> write_out(2) }
	:: atomic { pending > 3 && MAY_PASS(3, 0) && MAY_PASS(3, 1) && MAY_PASS(3, 2) ->
		write_out(3)
	}
	od
}

/* A store that finds no place in the buffer waits for one. */
inline store(cell, what)
{
	d_step {
		pending < STORES;
		address[pending] = cell;
		value[pending] = what;
		pending++
	}
}

/* The thread's own last store to the cell, else memory. */
inline load(into, cell)
{
	d_step {
		into = memory[cell];
		i_ = 0;
		do
		:: i_ < pending ->
			if
			:: address[i_] == cell -> into = value[i_]
			:: else
			fi;
			i_++
		:: else -> break
		od;
		i_ = 0
	}
}

/* hk_thread_push_batch() and hk_thread_pop_batch() of one block, in lib/thread_set.c */
active proctype owner()
{
	byte n, b;
	bool push, is_stopped;

again:
	push = held != NONE;
	/* Worth trying?  What is loaded here decides nothing else. */
	load(n, COUNT);
	if
	:: !push && n == 0 -> goto slow
	:: else
	fi;

	/* hk_thread_enter() */
	store(INSIDE, true);
	is_stopped = stopped;
	if
	:: is_stopped ->
		atomic { is_stopped = false; n = 0 }
		store(INSIDE, false);
		goto slow
	:: else
	fi;

	load(n, COUNT);
	if
	:: push && n < CAPACITY ->
		store(n, held);
		atomic {
			store(COUNT, n + 1);
			assert(!taken);
			blocks[n] = held;
			count = n + 1;
			held = NONE;
			check()
		}
	:: !push && n > 0 ->
		load(b, n - 1);
		atomic {
			store(COUNT, n - 1);
			assert(!taken);
			blocks[n - 1] = 0;
			count = n - 1;
			held = b;
			b = 0;
			check()
		}
	:: else
	fi;

	/* hk_thread_leave() */
	store(INSIDE, false);
	atomic { n = 0; push = false; goto again }

slow:	/* refill and spill, here without the magazine; their lock is a full fence */
	atomic {
		pending == 0;
		n = 0;
		if
		:: push -> in_slab[held] = true; held = NONE
		:: !push && in_slab[0] -> in_slab[0] = false; held = 0
		:: !push && !in_slab[0] && in_slab[1] -> in_slab[1] = false; held = 1
		:: !push && !in_slab[0] && !in_slab[1] && in_slab[2] ->
			in_slab[2] = false; held = 2
		:: else
		fi;
		push = false;
		check()
	}
	goto again
}

/* hk_thread_fence(): a full fence in the owner, between any two of its instructions. */
inline fence()
{
	atomic {
		do
		:: pending > 0 -> write_out(0)
		:: else -> break
		od
	}
}

/* Whoever flushes or looks, one at a time: hk_sets_lock is held. */
active proctype stopper()
{
	byte i, n;

	do
	:: /* stop_threads() */
#ifdef FENCE_FIRST
		fence();
#endif
		stopped = true;
#if !defined(NO_FENCE) && !defined(FENCE_FIRST)
		fence();
#endif
		/* is_at_rest(): for as long as it pleases. */
		do
#ifdef NO_HANDSHAKE
		:: goto take
#else
		:: atomic { !memory[INSIDE] -> goto take }
#endif
		:: goto resume
		od;

take:		/* hk_set_drain() */
		n = memory[COUNT];
		/* All that was committed has arrived. */
		assert(n == count);
		do
		:: atomic { i < n ->
			assert(memory[i] == blocks[i]);
			/* A bit that is set already is a double free. */
			assert(!in_slab[memory[i]]);
			in_slab[memory[i]] = true;
			i++;
			given = i;
			check()
		}
		:: atomic { i == n -> break }
		od;
		atomic {
			memory[COUNT] = 0;
			blocks[0] = 0;
			blocks[1] = 0;
			count = 0;
			given = 0;
			taken = true;
			i = 0;
			n = 0;
			check()
		}

resume:		/* hk_sets_resume(), or where the set was not reached, at once */
		atomic {
			assert(!taken || memory[COUNT] == 0);
			taken = false;
			stopped = false
		}
	od
}

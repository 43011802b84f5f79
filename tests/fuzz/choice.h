/* SPDX-License-Identifier: MIT
 *
 * choice.h - the stream of decisions that the driver follows: bytes that a fuzzer made, or
 * a generator's numbers.
 *
 * A generator is set anew for each step, from the seed and the step's number: what a step
 * chose in vain, because a block was not there, changes nothing in the steps after it.
 */
#ifndef FUZZ_CHOICE_H
#define FUZZ_CHOICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct choice {
	const uint8_t *next, *end; /* NULL: the generator decides */
	uint64_t state;
};

static inline struct choice choice_of_bytes(const uint8_t *bytes, size_t size)
{
	return (struct choice){ .next = bytes, .end = bytes + size };
}

/* splitmix64 (Steele, Lea and Flood, OOPSLA 2014). */
static inline uint64_t choice_mix(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

/* The generator's beginning for a step; bytes go on where they are. */
static inline void choice_at(struct choice *choice, uint64_t seed, uint64_t step)
{
	choice->state = seed;
	choice->state = choice_mix(&choice->state) + step;
}

static inline bool choice_ended(const struct choice *choice)
{
	return choice->next && choice->next == choice->end;
}

/* A number below limit, of as few bytes as it takes; of bytes that are not there, 0. */
static inline uint64_t choose(struct choice *choice, uint64_t limit)
{
	uint64_t number = 0;

	if (!choice->next)
		return choice_mix(&choice->state) % limit;
	for (uint64_t reach = limit - 1; reach; reach >>= 8) {
		number <<= 8;
		if (choice->next < choice->end)
			number |= *choice->next++;
	}
	return number % limit;
}

/* What takes long is rare, unless it is a fuzzer that asks for it. */
static inline bool seldom(struct choice *choice, uint64_t one_in)
{
	return choice->next || choose(choice, one_in) == 0;
}

#endif /* FUZZ_CHOICE_H */

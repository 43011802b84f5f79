/* SPDX-License-Identifier: MIT
 *
 * C++ programs that do nothing wrong.
 */
#include "libabuse.h"

#include <functional>
#include <iostream>
#include <list>
#include <map>
#include <memory>
#include <regex>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

/* C++14's, which clang 14 declares only if it is told to. */
extern "C" void delete_sized(void *object, size_t size) __asm__("_ZdlPvm");
extern "C" void delete_array_sized(void *array, size_t size) __asm__("_ZdaPvm");
extern "C" void delete_sized_aligned(void *object, size_t size,
				     size_t alignment) __asm__("_ZdlPvmSt11align_val_t");

namespace
{
struct alignas(256) Aligned {
	char bytes[512];
};

struct Base {
	virtual ~Base() = default;
	std::string name = std::string(50, 'b');
};

struct Other {
	virtual ~Other() = default;
	long number = 1;
};

struct Derived : Base, Other {
	std::vector<int> numbers = std::vector<int>(100, 1);
};

/* Destroyed after main(). */
std::map<std::string, std::vector<int>> global_map;
std::unordered_map<int, std::string> global_hash;
thread_local std::string own_text;
Other *volatile global_other;
std::exception_ptr kept_exception;
} // namespace

STEP void containers()
{
	for (int i = 0; i < 1000; i++) {
		global_map["key number " + std::to_string(i)].push_back(i);
		global_hash[i] = std::string(static_cast<size_t>(i % 100), 'x');
	}
	std::list<std::string> list;
	for (int i = 0; i < 1000; i++)
		list.push_back("an element that is on the heap " + std::to_string(i));
	list.sort();
	std::vector<std::function<int()>> functions;
	for (int i = 0; i < 100; i++)
		functions.emplace_back(
			[i, list] { return i + static_cast<int>(list.size()); });
	for (auto &function : functions)
		function();
}

STEP void thrower(int depth)
{
	std::string text(100, 'x');

	if (!depth)
		throw std::runtime_error("thrown " + text);
	thrower(depth - 1);
	STAY();
}

STEP void exceptions()
{
	for (int i = 0; i < 100; i++) {
		try {
			thrower(i % 20);
		} catch (const std::exception &error) {
			if (std::string(error.what()).size() != 107)
				puts("not ok - what()");
		}
	}
	try {
		try {
			thrower(3);
		} catch (...) {
			kept_exception = std::current_exception();
			std::throw_with_nested(std::logic_error("around it"));
		}
	} catch (const std::logic_error &) {
		STAY();
	}
}

STEP void all_operators()
{
	for (size_t i = 0; i < 100; i++) {
		delete static_cast<long *>(opaque(new long(1)));
		delete[] static_cast<char *>(opaque(new char[opaque_size(i)]));
		delete[] static_cast<std::string *>(opaque(new std::string[i]));
		delete static_cast<Aligned *>(opaque(new Aligned));
		delete[] static_cast<Aligned *>(opaque(new Aligned[i]));
		delete static_cast<long *>(opaque(new (std::nothrow) long(1)));
		delete[] static_cast<Aligned *>(opaque(new (std::nothrow) Aligned[i]));
		delete_sized(opaque(operator new(opaque_size(i))), i);
		delete_array_sized(opaque(operator new[](opaque_size(i))), i);
		delete_sized_aligned(opaque(operator new(i, std::align_val_t(64))), i,
				     64);
		operator delete(nullptr);
	}
	void *memory = make(sizeof(Derived));
	auto *object = new (memory) Derived;
	object->~Derived();
	free(memory);
}

/* The pointer that is kept is not the block's start; the destructor is virtual. */
STEP void other_base()
{
	global_other = new Derived;
	Other *volatile dropped = new Derived;
	delete dropped;
}

STEP void threads()
{
	std::vector<std::thread> all;

	for (int i = 0; i < 10; i++)
		all.emplace_back([i] {
			own_text = std::string(1000, 't');
			std::vector<std::shared_ptr<Derived>> objects;
			for (int k = 0; k < 50; k++)
				objects.push_back(std::make_shared<Derived>());
			if (i == 5)
				try {
					thrower(5);
				} catch (const std::runtime_error &) {
					own_text += "caught";
				}
		});
	for (auto &thread : all)
		thread.join();
	own_text = std::string(1000, 'm');
}

STEP void streams()
{
	std::ostringstream out;

	for (int i = 0; i < 1000; i++)
		out << i << ' ' << 1.5 * i << '\n';
	std::istringstream in(out.str());
	std::string word;
	while (in >> word)
		;
	std::regex pattern("([a-z]+) ([0-9]+)");
	std::smatch match;
	std::string text = "a word and word 123";
	if (!std::regex_search(text, match, pattern))
		puts("not ok - regex_search()");
	std::cout << std::flush;
}

static const struct crime crimes[] = {
	{ "containers", nullptr, containers },
	{ "exceptions", nullptr, exceptions },
	{ "all-operators", nullptr, all_operators },
	{ "other-base", nullptr, other_base },
	{ "threads", nullptr, threads },
	{ "streams", nullptr, streams },
};

FAMILY(crimes)

// Result<T>: a value or an Error, never an exception.
//
// Derived from std::expected so that the compiler warns about a dropped result.
#pragma once

#include <expected>
#include <string>
#include <utility>

namespace weir {

// What went wrong, for a person: `message` is one sentence that names the subject and the cause,
// `code` is the errno or module-specific number behind it (0 when there is none).
struct Error {
  int code = 0;
  std::string message;
};

template <class T, class E = Error>
class [[nodiscard]] Result : public std::expected<T, E> {
 public:
  using std::expected<T, E>::expected;
};

inline std::unexpected<Error> fail(std::string message, int code = 0) {
  return std::unexpected(Error{code, std::move(message)});
}

// "WHAT: strerror(code)".
std::unexpected<Error> fail_errno(std::string what, int code);

}  // namespace weir

// Returns the error of `expr` to the caller, drops its value.
#define WEIR_TRY(expr)                                                              \
  do {                                                                              \
    auto weir_try_result = (expr);                                                  \
    if (!weir_try_result) return std::unexpected(std::move(weir_try_result.error())); \
  } while (0)

// `WEIR_TRY_ASSIGN(auto x, expr)`: x is the value, or the error is returned to the caller.
#define WEIR_TRY_CAT2(a, b) a##b
#define WEIR_TRY_CAT(a, b) WEIR_TRY_CAT2(a, b)
#define WEIR_TRY_ASSIGN(decl, expr) WEIR_TRY_ASSIGN2(WEIR_TRY_CAT(weir_try_, __LINE__), decl, expr)
#define WEIR_TRY_ASSIGN2(tmp, decl, expr)                      \
  auto tmp = (expr);                                           \
  if (!tmp) return std::unexpected(std::move(tmp.error()));    \
  decl = std::move(*tmp)

// What a template consists of, once parsed.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "train/chat/jinja_value.h"

namespace retort::jinja {

inline constexpr int kMostDepth = 200;  // of expressions and of statements, each

struct Expression {
  enum class Kind {
    kLiteral,    // value
    kName,       // text
    kList,       // items; tuples too
    kDict,       // items: key, value, key, value, ...
    kAttribute,  // items[0].text
    kIndex,      // items[0][items[1]]
    kSlice,      // items[0][items[1]:items[2]:items[3]], none where nothing stands
    kCall,       // items[0](the others, named)
    kFilter,     // items[0] | text(the others, named)
    kTest,       // items[0] is text(the others)
    kUnary,      // text items[0]; text is "-", "+" or "not"
    kBinary,     // items[0] text items[1]
    kCondition,  // items[0] if items[1] else items[2], which may be absent
  };
  Kind kind;
  int line;
  std::string text;
  Value value;
  std::vector<Expression> items;
  std::vector<std::pair<std::string, Expression>> named;
  int depth = 1;  // of the tree below, which is walked by recursion
};

struct Statement {
  enum class Kind {
    kText,   // text
    kPrint,  // expressions[0]
    kIf,     // a body for each of the expressions, and one more for else
    // names in expressions[0], where expressions[1] holds if there is one; bodies[1], if there is one, when
    // nothing was gone through
    kFor,
    kSet,    // names[0] or names[0].names[1] = expressions[0], or what bodies[0] writes
    kMacro,  // text(names), of which the last ones have expressions as defaults; bodies[0]
    kBlock,  // bodies[0], as it stands: {% generation %}
    kBreak,
    kContinue,
  };
  Kind kind;
  int line;
  std::string text;
  std::vector<std::string> names;
  std::vector<Expression> expressions;
  std::vector<std::vector<Statement>> bodies;
};

}  // namespace retort::jinja

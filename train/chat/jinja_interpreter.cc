#include "train/chat/jinja_interpreter.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "train/chat/jinja_builtins.h"

namespace retort::jinja {
namespace {

using Kind = Expression::Kind;
using Body = std::vector<Statement>;
using Scope = std::map<std::string, Value>;

// A template comes from whoever made the model: these are far above any chat's needs.
constexpr int kMostStatements = 20'000, kMostExpressions = 1'000'000, kMostLevels = 500, kMostDepth = 100;
constexpr size_t kMostBytes = 4 << 20, kMostElements = 100'000;
constexpr uint64_t kMostMadeBytes = 512 << 20;  // of all values, each as often as an expression gives it

enum class Flow { kGoOn, kBreak, kContinue };

int64_t FloorDivide(int64_t a, int64_t b) { return a / b - (a % b != 0 && (a < 0) != (b < 0)); }

class Interpreter {
 public:
  Interpreter(const Dict& globals, absl::Time now) : now_(now), scopes_(1) {
    for (const auto& [name, value] : globals) scopes_[0][name] = value;
  }

  absl::StatusOr<std::string> Run(const Body& body) {
    RETURN_IF_ERROR(RunBody(body).status());
    return std::move(out_);
  }

 private:
  static absl::Status At(int line, const absl::Status& status) {
    if (status.ok() || absl::IsFailedPrecondition(status)) return status;
    return absl::Status(status.code(), absl::StrCat("line ", line, ": ", status.message()));
  }
  static absl::Status Wrong(int line, const std::string& what) {
    return At(line, absl::InvalidArgumentError(what));
  }

  absl::Status Write(int line, const std::string& text) {
    if (out_.size() + text.size() > kMostBytes) return Wrong(line, "the template writes too much");
    RETURN_IF_ERROR(Charge(line, text.size()));
    out_ += text;
    return absl::OkStatus();
  }

  absl::Status Charge(int line, uint64_t bytes) {
    made_bytes_ += bytes;
    return made_bytes_ <= kMostMadeBytes ? absl::OkStatus() : Wrong(line, "the template makes too much");
  }

  // What an operation does beyond looking at each of its values once, which their own bytes pay for.
  absl::Status ChargeWork(int line, const std::string& operation, const Value& value,
                          const Arguments& arguments) {
    constexpr uint64_t kSearchedTogether = 16;  // bytes of one text times bytes of the other
    constexpr uint64_t kEntryBytes = 8, kCharacterBytes = 32;
    Extent others;
    const auto include = [&others](const Value& other) {
      others.elements += ExtentOf(other).elements;
      if (other.Is<std::string>()) others.bytes += ExtentOf(other).bytes;
    };
    for (const Value& other : arguments.positional) include(other);
    for (const auto& [name, other] : arguments.named) include(other);
    const Extent extent = ExtentOf(value);
    const bool is_text = value.Is<std::string>();
    uint64_t bytes = 0;
    if (is_text && TakesApart(operation)) bytes += kCharacterBytes * extent.bytes;
    if (is_text && Searches(operation)) bytes += extent.bytes * others.bytes / kSearchedTogether;
    if (Compares(operation)) bytes += kEntryBytes * extent.elements * others.elements;
    return Charge(line, bytes);
  }

  // What later walks through the value, all of them recursive, rely on.
  absl::Status Admit(int line, const Value& value) {
    const Extent extent = ExtentOf(value);
    if (extent.holds_namespace) return Wrong(line, "a namespace cannot be within a list or a dict");
    if (extent.depth > kMostDepth) return Wrong(line, "lists and dicts are nested too deeply");
    if (extent.elements > kMostElements) return Wrong(line, "a list is too long");
    return Charge(line, extent.bytes);
  }

  // ---- statements
  absl::StatusOr<Flow> RunBody(const Body& body) {
    if (++levels_ > kMostLevels) return absl::InvalidArgumentError("calls go too deep");
    for (const Statement& statement : body) {
      if (++statements_ > kMostStatements)
        return Wrong(statement.line, "the template does not come to an end");
      ASSIGN_OR_RETURN(const Flow flow, RunOne(statement));
      if (flow != Flow::kGoOn) {
        --levels_;
        return flow;
      }
    }
    --levels_;
    return Flow::kGoOn;
  }

  absl::StatusOr<Flow> RunOne(const Statement& statement) {
    switch (statement.kind) {
      case Statement::Kind::kText:
        RETURN_IF_ERROR(Write(statement.line, statement.text));
        return Flow::kGoOn;
      case Statement::Kind::kPrint: {
        ASSIGN_OR_RETURN(const Value value, Evaluate(statement.expressions[0]));
        const absl::StatusOr<std::string> text = TextOf(value);
        if (!text.ok()) return At(statement.line, text.status());
        RETURN_IF_ERROR(Write(statement.line, *text));
        return Flow::kGoOn;
      }
      case Statement::Kind::kIf:
        for (size_t i = 0; i < statement.bodies.size(); ++i) {
          bool holds = i == statement.expressions.size();  // else
          if (!holds) {
            ASSIGN_OR_RETURN(const Value condition, Evaluate(statement.expressions[i]));
            holds = IsTrue(condition);
          }
          if (holds) return RunBody(statement.bodies[i]);
        }
        return Flow::kGoOn;
      case Statement::Kind::kFor:
        return RunFor(statement);
      case Statement::Kind::kSet:
        RETURN_IF_ERROR(RunSet(statement));
        return Flow::kGoOn;
      case Statement::Kind::kMacro:
        scopes_.back()[statement.text] = {&statement};
        return Flow::kGoOn;
      case Statement::Kind::kBlock:
        return RunBody(statement.bodies[0]);
      case Statement::Kind::kBreak:
        return Flow::kBreak;
      case Statement::Kind::kContinue:
        return Flow::kContinue;
    }
    return Flow::kGoOn;
  }

  absl::Status Bind(const Statement& statement, const Value& value) {
    if (statement.names.size() == 1) {
      scopes_.back()[statement.names[0]] = value;
      return absl::OkStatus();
    }
    if (!value.is_list() || value.list().size() != statement.names.size()) {
      return Wrong(statement.line, absl::StrCat("cannot take ", TypeName(value), " apart into ",
                                                statement.names.size(), " names"));
    }
    for (size_t i = 0; i < statement.names.size(); ++i) scopes_.back()[statement.names[i]] = value.list()[i];
    return absl::OkStatus();
  }

  // The elements to go through.
  absl::StatusOr<List> Gather(const Statement& statement) {
    ASSIGN_OR_RETURN(const Value value, Evaluate(statement.expressions[0]));
    RETURN_IF_ERROR(ChargeWork(statement.line, "list", value, {}));
    absl::StatusOr<List> elements = ElementsOf(value);
    if (!elements.ok()) return At(statement.line, elements.status());
    if (statement.expressions.size() == 1) return elements;
    List chosen;
    scopes_.emplace_back();
    for (const Value& element : *elements) {
      RETURN_IF_ERROR(Bind(statement, element));
      ASSIGN_OR_RETURN(const Value condition, Evaluate(statement.expressions[1]));
      if (IsTrue(condition)) chosen.push_back(element);
    }
    scopes_.pop_back();
    return chosen;
  }

  absl::StatusOr<Flow> RunFor(const Statement& statement) {
    ASSIGN_OR_RETURN(const List elements, Gather(statement));
    const auto count = static_cast<int64_t>(elements.size());
    for (int64_t i = 0; i < count; ++i) {
      Dict loop = {{"index", {i + 1}},        {"index0", {i}},
                   {"revindex", {count - i}}, {"revindex0", {count - i - 1}},
                   {"first", {i == 0}},       {"last", {i + 1 == count}},
                   {"length", {count}}};
      if (i > 0) loop.push_back({"previtem", elements[i - 1]});
      if (i + 1 < count) loop.push_back({"nextitem", elements[i + 1]});
      scopes_.emplace_back();
      scopes_.back()["loop"] = MakeDict(std::move(loop));
      RETURN_IF_ERROR(Bind(statement, elements[i]));
      ASSIGN_OR_RETURN(const Flow flow, RunBody(statement.bodies[0]));
      scopes_.pop_back();
      if (flow == Flow::kBreak) break;
    }
    if (count == 0 && statement.bodies.size() > 1) return RunBody(statement.bodies[1]);
    return Flow::kGoOn;
  }

  absl::Status RunSet(const Statement& statement) {
    Value value;
    if (statement.expressions.empty()) {
      std::string outer = std::move(out_);
      out_.clear();
      RETURN_IF_ERROR(RunBody(statement.bodies[0]).status());
      value = {std::exchange(out_, std::move(outer))};
    } else {
      ASSIGN_OR_RETURN(value, Evaluate(statement.expressions[0]));
    }
    if (statement.names.size() == 1) {
      scopes_.back()[statement.names[0]] = std::move(value);
      return absl::OkStatus();
    }
    const Value owner = Lookup(statement.names[0]);
    if (!owner.is_namespace()) {
      return Wrong(statement.line, absl::StrCat(statement.names[0], " is no namespace"));
    }
    if (value.is_namespace()) return Wrong(statement.line, "a namespace cannot be within another");
    Dict& fields = owner.As<std::shared_ptr<Namespace>>()->fields;
    for (auto& [name, field] : fields) {
      if (name != statement.names[1]) continue;
      field = std::move(value);
      return absl::OkStatus();
    }
    fields.push_back({statement.names[1], std::move(value)});
    return absl::OkStatus();
  }

  // ---- expressions
  Value Lookup(const std::string& name) const {
    for (auto scope = scopes_.rbegin(); scope != scopes_.rend(); ++scope) {
      const auto found = scope->find(name);
      if (found != scope->end()) return found->second;
    }
    return IsFunction(name) ? Value{Function{name}} : Value{Undefined{name}};
  }

  absl::StatusOr<Value> Evaluate(const Expression& expression) {
    if (++expressions_ > kMostExpressions)
      return Wrong(expression.line, "the template does not come to an end");
    if (++levels_ > kMostLevels) return Wrong(expression.line, "calls go too deep");
    absl::StatusOr<Value> value = EvaluateOne(expression);
    --levels_;
    if (value.ok()) RETURN_IF_ERROR(Admit(expression.line, *value));
    return value;
  }

  absl::StatusOr<Value> EvaluateOne(const Expression& expression) {
    switch (expression.kind) {
      case Kind::kLiteral:
        return expression.value;
      case Kind::kName:
        return Lookup(expression.text);
      case Kind::kList: {
        ASSIGN_OR_RETURN(List items, EvaluateAll(expression, 0));
        return MakeList(std::move(items));
      }
      case Kind::kDict:
        return EvaluateDict(expression);
      case Kind::kAttribute:
      case Kind::kIndex:
        return EvaluateIndex(expression);
      case Kind::kSlice:
        return EvaluateSlice(expression);
      case Kind::kCall:
        return EvaluateCall(expression);
      case Kind::kFilter:
      case Kind::kTest: {
        ASSIGN_OR_RETURN(const Value value, Evaluate(expression.items[0]));
        ASSIGN_OR_RETURN(const Arguments arguments, EvaluateArguments(expression));
        RETURN_IF_ERROR(ChargeWork(expression.line, expression.text, value, arguments));
        absl::StatusOr<Value> result;
        if (expression.kind == Kind::kFilter) {
          result = ApplyFilter(expression.text, value, arguments);
        } else {
          const absl::StatusOr<bool> passes = ApplyTest(expression.text, value, arguments.positional);
          result = passes.ok() ? absl::StatusOr<Value>(Value{*passes}) : passes.status();
        }
        if (!result.ok()) return At(expression.line, result.status());
        return result;
      }
      case Kind::kUnary:
        return EvaluateUnary(expression);
      case Kind::kBinary:
        return EvaluateBinary(expression);
      case Kind::kCondition: {
        ASSIGN_OR_RETURN(const Value condition, Evaluate(expression.items[1]));
        if (IsTrue(condition)) return Evaluate(expression.items[0]);
        if (expression.items.size() == 2) return Value{Undefined{"what an if without else gives"}};
        return Evaluate(expression.items[2]);
      }
    }
    return Value{};
  }

  absl::StatusOr<List> EvaluateAll(const Expression& expression, size_t first) {
    List values;
    for (size_t i = first; i < expression.items.size(); ++i) {
      ASSIGN_OR_RETURN(values.emplace_back(), Evaluate(expression.items[i]));
    }
    return values;
  }

  absl::StatusOr<Arguments> EvaluateArguments(const Expression& expression) {
    Arguments arguments;
    ASSIGN_OR_RETURN(arguments.positional, EvaluateAll(expression, 1));
    for (size_t i = 0; i < expression.named.size(); ++i) {
      ASSIGN_OR_RETURN(Value value, Evaluate(expression.named[i]));
      arguments.named.push_back({expression.names[i], std::move(value)});
    }
    return arguments;
  }

  absl::StatusOr<Value> EvaluateDict(const Expression& expression) {
    ASSIGN_OR_RETURN(const List items, EvaluateAll(expression, 0));
    Dict dict;
    for (size_t i = 0; i < items.size(); i += 2) {
      if (!items[i].Is<std::string>()) return Wrong(expression.line, "a dict's key must be a string");
      std::erase_if(dict, [&](const auto& entry) { return entry.key == items[i].As<std::string>(); });
      dict.push_back({items[i].As<std::string>(), items[i + 1]});
    }
    return MakeDict(std::move(dict));
  }

  absl::StatusOr<Value> EvaluateIndex(const Expression& expression) {
    ASSIGN_OR_RETURN(const Value owner, Evaluate(expression.items[0]));
    Value key = {expression.text};
    if (expression.kind == Kind::kIndex) {
      ASSIGN_OR_RETURN(key, Evaluate(expression.items[1]));
    }
    if (owner.Is<Undefined>()) {
      return Wrong(expression.line, absl::StrCat(owner.As<Undefined>().name, " is undefined"));
    }
    if ((owner.is_dict() || owner.is_namespace()) && key.Is<std::string>()) {
      const Value* const found =
          FindKey(owner.is_dict() ? owner.dict() : owner.As<std::shared_ptr<Namespace>>()->fields,
                  key.As<std::string>());
      if (found != nullptr) return *found;
    } else if (key.Is<int64_t>() && (owner.is_list() || owner.Is<std::string>())) {
      RETURN_IF_ERROR(ChargeWork(expression.line, "list", owner, {}));
      ASSIGN_OR_RETURN(const List elements, ElementsOf(owner));
      const auto size = static_cast<int64_t>(elements.size());
      const int64_t index = key.As<int64_t>() < 0 ? key.As<int64_t>() + size : key.As<int64_t>();
      if (index >= 0 && index < size) return elements[static_cast<size_t>(index)];
    }
    return Value{Undefined{key.Is<std::string>() ? key.As<std::string>() : "an element"}};
  }

  absl::StatusOr<Value> EvaluateSlice(const Expression& expression) {
    ASSIGN_OR_RETURN(const List parts, EvaluateAll(expression, 0));
    if (!parts[0].is_list() && !parts[0].Is<std::string>()) {
      return Wrong(expression.line, absl::StrCat("cannot take a slice of ", TypeName(parts[0])));
    }
    RETURN_IF_ERROR(ChargeWork(expression.line, "list", parts[0], {}));
    const List elements = ElementsOf(parts[0]).value();
    const auto size = static_cast<int64_t>(elements.size());
    const int64_t step = parts[3].Is<int64_t>() ? parts[3].As<int64_t>() : 1;
    if (step == 0) return Wrong(expression.line, "a slice with a step of 0");
    const auto bound = [&](const Value& given, int64_t otherwise) {
      if (!given.Is<int64_t>()) return otherwise;
      const int64_t place = given.As<int64_t>() < 0 ? given.As<int64_t>() + size : given.As<int64_t>();
      return step > 0 ? std::clamp<int64_t>(place, 0, size) : std::clamp<int64_t>(place, -1, size - 1);
    };
    List chosen;
    const int64_t begin = bound(parts[1], step > 0 ? 0 : size - 1),
                  end = bound(parts[2], step > 0 ? size : -1);
    for (int64_t i = begin; step > 0 ? i < end : i > end; i += step)
      chosen.push_back(elements[static_cast<size_t>(i)]);
    if (parts[0].is_list()) return MakeList(std::move(chosen));
    std::string text;
    for (const Value& character : chosen) text += character.As<std::string>();
    return Value{std::move(text)};
  }

  absl::StatusOr<Value> EvaluateCall(const Expression& expression) {
    const Expression& callee = expression.items[0];
    Value owner;
    const bool is_method = callee.kind == Kind::kAttribute;
    ASSIGN_OR_RETURN(owner, Evaluate(is_method ? callee.items[0] : callee));
    ASSIGN_OR_RETURN(const Arguments arguments, EvaluateArguments(expression));
    absl::StatusOr<Value> result;
    if (owner.Is<Undefined>()) {
      return Wrong(expression.line, absl::StrCat(owner.As<Undefined>().name, " is undefined"));
    }
    if (is_method) {
      RETURN_IF_ERROR(ChargeWork(expression.line, callee.text, owner, arguments));
      result = CallMethod(owner, callee.text, arguments);
    } else if (owner.Is<Function>()) {
      result = CallFunction(owner.As<Function>().name, arguments, now_);
    } else if (owner.Is<const Statement*>()) {
      result = CallMacro(*owner.As<const Statement*>(), arguments);
    } else {
      return Wrong(expression.line, absl::StrCat(TypeName(owner), " cannot be called"));
    }
    if (!result.ok()) return At(expression.line, result.status());
    return result;
  }

  // Sees the globals and its parameters.
  absl::StatusOr<Value> CallMacro(const Statement& macro, const Arguments& arguments) {
    Scope parameters;
    const size_t required = macro.names.size() - macro.expressions.size();
    for (size_t i = 0; i < macro.names.size(); ++i) {
      Value& parameter = parameters[macro.names[i]];
      if (const Value* const given = arguments.Get(i, macro.names[i])) {
        parameter = *given;
      } else if (i >= required) {
        ASSIGN_OR_RETURN(parameter, Evaluate(macro.expressions[i - required]));
      } else {
        parameter = {Undefined{macro.names[i]}};
      }
    }
    std::vector<Scope> outer(std::make_move_iterator(scopes_.begin() + 1),
                             std::make_move_iterator(scopes_.end()));
    scopes_.resize(1);
    scopes_.push_back(std::move(parameters));
    std::string before = std::move(out_);
    out_.clear();
    RETURN_IF_ERROR(RunBody(macro.bodies[0]).status());
    scopes_.resize(1);
    scopes_.insert(scopes_.end(), std::make_move_iterator(outer.begin()),
                   std::make_move_iterator(outer.end()));
    return Value{std::exchange(out_, std::move(before))};
  }

  absl::StatusOr<Value> EvaluateUnary(const Expression& expression) {
    ASSIGN_OR_RETURN(const Value value, Evaluate(expression.items[0]));
    if (expression.text == "not") return Value{!IsTrue(value)};
    if (!value.is_number()) {
      return Wrong(expression.line, absl::StrCat("cannot take ", expression.text, " of ", TypeName(value)));
    }
    if (expression.text == "+") return value;
    return value.Is<double>() ? Value{-value.As<double>()} : Value{-value.integer()};
  }

  absl::StatusOr<Value> EvaluateBinary(const Expression& expression) {
    const std::string& op = expression.text;
    ASSIGN_OR_RETURN(Value left, Evaluate(expression.items[0]));
    if (op == "and" || op == "or") {
      if (IsTrue(left) == (op == "or")) return left;
      return Evaluate(expression.items[1]);
    }
    ASSIGN_OR_RETURN(const Value right, Evaluate(expression.items[1]));
    const bool is_in = op == "in" || op == "not in";
    RETURN_IF_ERROR(ChargeWork(expression.line, op, is_in ? right : left, {{is_in ? left : right}, {}}));
    absl::StatusOr<Value> result = Combine(op, left, right);
    if (!result.ok()) return At(expression.line, result.status());
    return result;
  }

  static absl::StatusOr<Value> Combine(const std::string& op, const Value& left, const Value& right) {
    if (op == "==" || op == "!=") return Value{AreEqual(left, right) == (op == "==")};
    if (op == "in" || op == "not in") {
      ASSIGN_OR_RETURN(const bool contains, Contains(right, left));
      return Value{contains == (op == "in")};
    }
    if (op == "~" || (op == "+" && left.Is<std::string>() && right.Is<std::string>())) {
      ASSIGN_OR_RETURN(std::string text, TextOf(left));
      ASSIGN_OR_RETURN(const std::string after, TextOf(right));
      if (text.size() + after.size() > kMostBytes) return absl::InvalidArgumentError("a text is too long");
      return Value{text += after};
    }
    if (left.is_number() && right.is_number()) return Calculate(op, left, right);
    if (left.Is<std::string>() && right.Is<std::string>()) {
      const int order = left.As<std::string>().compare(right.As<std::string>());
      if (op == "<" || op == "<=") return Value{order < (op == "<=" ? 1 : 0)};
      if (op == ">" || op == ">=") return Value{order > (op == ">=" ? -1 : 0)};
    }
    if (op == "+" && left.is_list() && right.is_list()) {
      List list = left.list();
      list.insert(list.end(), right.list().begin(), right.list().end());
      if (list.size() > kMostElements) return absl::InvalidArgumentError("a list is too long");
      return MakeList(std::move(list));
    }
    for (const Value* value : {&left, &right}) {
      if (value->Is<Undefined>()) {
        return absl::InvalidArgumentError(absl::StrCat(value->As<Undefined>().name, " is undefined"));
      }
    }
    return absl::InvalidArgumentError(
        absl::StrCat("cannot take ", TypeName(left), " ", op, " ", TypeName(right)));
  }

  static absl::StatusOr<Value> Calculate(const std::string& op, const Value& left, const Value& right) {
    const double a = left.number(), b = right.number();
    if (op == "<") return Value{a < b};
    if (op == "<=") return Value{a <= b};
    if (op == ">") return Value{a > b};
    if (op == ">=") return Value{a >= b};
    if ((op == "/" || op == "//" || op == "%") && b == 0)
      return absl::InvalidArgumentError("a division by 0");
    if (op == "/") return Value{a / b};
    const bool whole = !left.Is<double>() && !right.Is<double>();
    double result = 0;
    if (op == "+") result = a + b;
    if (op == "-") result = a - b;
    if (op == "*") result = a * b;
    if (op == "**") result = std::pow(a, b);
    if (op == "//") result = std::floor(a / b);
    if (op == "%") result = a - b * std::floor(a / b);
    if (!whole || (op == "**" && b < 0)) return Value{result};
    if (!(std::abs(result) <= static_cast<double>(kLargestInteger)))
      return absl::InvalidArgumentError("a number is too large");
    if (op == "//") return Value{FloorDivide(left.integer(), right.integer())};
    if (op == "%") {
      return Value{left.integer() - right.integer() * FloorDivide(left.integer(), right.integer())};
    }
    return Value{static_cast<int64_t>(result)};
  }

  const absl::Time now_;
  std::vector<Scope> scopes_;  // the globals first
  std::string out_;
  int statements_ = 0, expressions_ = 0, levels_ = 0;
  uint64_t made_bytes_ = 0;
};

}  // namespace

absl::StatusOr<std::string> Render(const std::vector<Statement>& body, const Dict& globals, absl::Time now) {
  return Interpreter(globals, now).Run(body);
}

}  // namespace retort::jinja

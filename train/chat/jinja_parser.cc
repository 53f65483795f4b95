#include "train/chat/jinja_parser.h"

#include <algorithm>
#include <charconv>
#include <initializer_list>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "train/chat/jinja_lexer.h"

namespace retort::jinja {
namespace {

using Kind = Expression::Kind;
using TokenKind = Token::Kind;
using Body = std::vector<Statement>;

// Expressions in the order of how loosely they bind.
class Parser {
 public:
  explicit Parser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  absl::StatusOr<Body> Run() {
    ASSIGN_OR_RETURN(Body body, ParseBody({}));
    return body;
  }

 private:
  // ---- tokens
  const Token& Now() const { return tokens_[at_]; }
  const Token& After() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  bool IsOperator(const char* text) const { return Now().kind == TokenKind::kOperator && Now().text == text; }
  bool IsName(const char* text) const { return Now().kind == TokenKind::kName && Now().text == text; }
  bool Take(const char* text) {
    const bool there = IsOperator(text) || IsName(text);
    at_ += there;
    return there;
  }
  absl::Status Wrong(const std::string& what) const {
    return absl::InvalidArgumentError(absl::StrCat("line ", Now().line, ": ", what));
  }
  std::string Found() const {
    switch (Now().kind) {
      case TokenKind::kEnd:
        return "the end";
      case TokenKind::kBlockEnd:
        return "%}";
      case TokenKind::kPrintEnd:
        return "}}";
      case TokenKind::kText:
      case TokenKind::kPrintBegin:
      case TokenKind::kBlockBegin:
        return "text";
      default:
        return absl::StrCat("'", Now().text, "'");
    }
  }
  absl::Status Expect(const char* text) {
    if (Take(text)) return absl::OkStatus();
    return Wrong(absl::StrCat("expected '", text, "', found ", Found()));
  }
  absl::Status ExpectBlockEnd() {
    if (Now().kind != TokenKind::kBlockEnd) return Wrong(absl::StrCat("expected %}, found ", Found()));
    ++at_;
    return absl::OkStatus();
  }
  absl::StatusOr<std::string> ExpectName() {
    if (Now().kind != TokenKind::kName) return Wrong(absl::StrCat("expected a name, found ", Found()));
    return tokens_[at_++].text;
  }

  // ---- statements
  // Up to the tag of one of the words, which is left at its word; to the end of the template without any.
  absl::StatusOr<Body> ParseBody(std::initializer_list<const char*> ends) {
    if (++depth_ > kMostDepth) return Wrong("nested too deeply");
    Body body;
    while (true) {
      const int line = Now().line;
      if (Now().kind == TokenKind::kEnd) {
        if (ends.size() > 0)
          return Wrong(absl::StrCat("the end, where {% ", *(ends.end() - 1), " %} is missing"));
        break;
      }
      if (Now().kind == TokenKind::kText) {
        body.push_back({Statement::Kind::kText, line, tokens_[at_++].text, {}, {}, {}});
      } else if (Now().kind == TokenKind::kPrintBegin) {
        ++at_;
        body.push_back({Statement::Kind::kPrint, line, "", {}, {}, {}});
        ASSIGN_OR_RETURN(body.back().expressions.emplace_back(), ParseTuple());
        if (Now().kind != TokenKind::kPrintEnd) return Wrong(absl::StrCat("expected }}, found ", Found()));
        ++at_;
      } else {
        ++at_;
        if (std::any_of(ends.begin(), ends.end(), [this](const char* end) { return IsName(end); })) break;
        ASSIGN_OR_RETURN(body.emplace_back(), ParseStatement());
      }
    }
    --depth_;
    return body;
  }

  absl::StatusOr<Statement> ParseStatement() {
    Statement statement = {Statement::Kind::kBlock, Now().line, "", {}, {}, {}};
    if (Take("if")) return ParseIf(std::move(statement));
    if (Take("for")) return ParseFor(std::move(statement));
    if (Take("set")) return ParseSet(std::move(statement));
    if (Take("macro")) return ParseMacro(std::move(statement));
    if (Take("generation")) {
      RETURN_IF_ERROR(ParseLastBody("endgeneration", statement));
      return statement;
    }
    if (Take("break")) {
      statement.kind = Statement::Kind::kBreak;
    } else if (Take("continue")) {
      statement.kind = Statement::Kind::kContinue;
    } else {
      return absl::UnimplementedError(
          absl::StrCat("line ", Now().line, ": {% ", Now().text,
                       " %} is not supported here; if, for, set, macro, generation, break and continue are"));
    }
    RETURN_IF_ERROR(ExpectBlockEnd());
    return statement;
  }

  // What stands between %} and {% end %}.
  absl::Status ParseLastBody(const char* end, Statement& statement) {
    RETURN_IF_ERROR(ExpectBlockEnd());
    ASSIGN_OR_RETURN(statement.bodies.emplace_back(), ParseBody({end}));
    ++at_;
    return ExpectBlockEnd();
  }

  absl::StatusOr<Statement> ParseIf(Statement statement) {
    statement.kind = Statement::Kind::kIf;
    do {
      ASSIGN_OR_RETURN(statement.expressions.emplace_back(), ParseExpression());
      RETURN_IF_ERROR(ExpectBlockEnd());
      ASSIGN_OR_RETURN(statement.bodies.emplace_back(), ParseBody({"elif", "else", "endif"}));
    } while (Take("elif"));
    if (Take("else")) {
      RETURN_IF_ERROR(ParseLastBody("endif", statement));
      return statement;
    }
    ++at_;
    RETURN_IF_ERROR(ExpectBlockEnd());
    return statement;
  }

  absl::StatusOr<Statement> ParseFor(Statement statement) {
    statement.kind = Statement::Kind::kFor;
    const bool in_brackets = Take("(");
    do {
      ASSIGN_OR_RETURN(statement.names.emplace_back(), ExpectName());
    } while (Take(","));
    if (in_brackets) RETURN_IF_ERROR(Expect(")"));
    RETURN_IF_ERROR(Expect("in"));
    ASSIGN_OR_RETURN(statement.expressions.emplace_back(), ParseOr());
    if (Take("if")) {
      ASSIGN_OR_RETURN(statement.expressions.emplace_back(), ParseExpression());
    }
    RETURN_IF_ERROR(ExpectBlockEnd());
    ASSIGN_OR_RETURN(statement.bodies.emplace_back(), ParseBody({"else", "endfor"}));
    if (Take("else")) {
      RETURN_IF_ERROR(ParseLastBody("endfor", statement));
      return statement;
    }
    ++at_;
    RETURN_IF_ERROR(ExpectBlockEnd());
    return statement;
  }

  absl::StatusOr<Statement> ParseSet(Statement statement) {
    statement.kind = Statement::Kind::kSet;
    ASSIGN_OR_RETURN(statement.names.emplace_back(), ExpectName());
    if (Take(".")) {
      ASSIGN_OR_RETURN(statement.names.emplace_back(), ExpectName());
    }
    if (!Take("=")) {
      RETURN_IF_ERROR(ParseLastBody("endset", statement));
      return statement;
    }
    ASSIGN_OR_RETURN(statement.expressions.emplace_back(), ParseTuple());
    RETURN_IF_ERROR(ExpectBlockEnd());
    return statement;
  }

  absl::StatusOr<Statement> ParseMacro(Statement statement) {
    statement.kind = Statement::Kind::kMacro;
    ASSIGN_OR_RETURN(statement.text, ExpectName());
    RETURN_IF_ERROR(Expect("("));
    while (!Take(")")) {
      ASSIGN_OR_RETURN(statement.names.emplace_back(), ExpectName());
      if (Take("=")) {
        ASSIGN_OR_RETURN(statement.expressions.emplace_back(), ParseExpression());
      } else if (!statement.expressions.empty()) {
        return Wrong("a parameter without a default follows one with a default");
      }
      if (!IsOperator(")")) RETURN_IF_ERROR(Expect(","));
    }
    RETURN_IF_ERROR(ParseLastBody("endmacro", statement));
    return statement;
  }

  // ---- expressions
  Expression Make(Kind kind, std::string text = "") const {
    return {kind, Now().line, std::move(text), {}, {}, {}, {}};
  }

  absl::Status Add(Expression& parent, absl::StatusOr<Expression> child) const {
    RETURN_IF_ERROR(child.status());
    parent.depth = std::max(parent.depth, child->depth + 1);
    if (parent.depth > kMostDepth) return Wrong("nested too deeply");
    parent.items.push_back(*std::move(child));
    return absl::OkStatus();
  }

  // a, b: a list
  absl::StatusOr<Expression> ParseTuple() {
    ASSIGN_OR_RETURN(Expression first, ParseExpression());
    if (!IsOperator(",")) return first;
    Expression list = Make(Kind::kList);
    RETURN_IF_ERROR(Add(list, std::move(first)));
    while (Take(",")) {
      RETURN_IF_ERROR(Add(list, ParseExpression()));
    }
    return list;
  }

  absl::StatusOr<Expression> ParseExpression() {
    if (++depth_ > kMostDepth) return Wrong("nested too deeply");
    ASSIGN_OR_RETURN(Expression value, ParseOr());
    while (Take("if")) {
      Expression condition = Make(Kind::kCondition);
      RETURN_IF_ERROR(Add(condition, std::move(value)));
      RETURN_IF_ERROR(Add(condition, ParseOr()));
      if (Take("else")) {
        RETURN_IF_ERROR(Add(condition, ParseExpression()));
      }
      value = std::move(condition);
    }
    --depth_;
    return value;
  }

  using Level = absl::StatusOr<Expression> (Parser::*)();

  // Operands of `level` between any of the operators, the left ones first.
  absl::StatusOr<Expression> ParseLeft(std::initializer_list<const char*> operators, Level level) {
    ASSIGN_OR_RETURN(Expression left, (this->*level)());
    while (true) {
      const auto found = std::find_if(operators.begin(), operators.end(),
                                      [this](const char* text) { return IsOperator(text) || IsName(text); });
      if (found == operators.end()) return left;
      Expression binary = Make(Kind::kBinary, *found);
      ++at_;
      RETURN_IF_ERROR(Add(binary, std::move(left)));
      RETURN_IF_ERROR(Add(binary, (this->*level)()));
      left = std::move(binary);
    }
  }

  absl::StatusOr<Expression> ParseOr() { return ParseLeft({"or"}, &Parser::ParseAnd); }
  absl::StatusOr<Expression> ParseAnd() { return ParseLeft({"and"}, &Parser::ParseNot); }

  absl::StatusOr<Expression> ParseNot() {
    Expression negation = Make(Kind::kUnary, "not");
    if (!Take("not")) return ParseComparison();
    if (++depth_ > kMostDepth) return Wrong("nested too deeply");
    RETURN_IF_ERROR(Add(negation, ParseNot()));
    --depth_;
    return negation;
  }

  absl::StatusOr<Expression> ParseComparison() {
    ASSIGN_OR_RETURN(Expression left, ParseSum());
    std::optional<Expression> all;  // of a < b < c: a < b and b < c
    while (true) {
      const bool is_not_in = IsName("not") && After().kind == TokenKind::kName && After().text == "in";
      const bool compares =
          is_not_in || IsName("in") ||
          (Now().kind == TokenKind::kOperator &&
           std::string(" == != < <= > >= ").find(" " + Now().text + " ") != std::string::npos);
      if (!compares) return all ? *std::move(all) : std::move(left);
      Expression comparison = Make(Kind::kBinary, is_not_in ? "not in" : Now().text);
      at_ += is_not_in ? 2 : 1;
      ASSIGN_OR_RETURN(Expression right, ParseSum());
      RETURN_IF_ERROR(Add(comparison, std::move(left)));
      RETURN_IF_ERROR(Add(comparison, right));
      left = std::move(right);
      if (all) {
        Expression both = Make(Kind::kBinary, "and");
        RETURN_IF_ERROR(Add(both, *std::move(all)));
        RETURN_IF_ERROR(Add(both, std::move(comparison)));
        all = std::move(both);
      } else {
        all = std::move(comparison);
      }
    }
  }

  absl::StatusOr<Expression> ParseSum() { return ParseLeft({"+", "-"}, &Parser::ParseConcatenation); }
  absl::StatusOr<Expression> ParseConcatenation() { return ParseLeft({"~"}, &Parser::ParseProduct); }
  absl::StatusOr<Expression> ParseProduct() { return ParseLeft({"*", "//", "/", "%"}, &Parser::ParsePower); }
  absl::StatusOr<Expression> ParsePower() { return ParseLeft({"**"}, &Parser::ParseFiltered); }

  absl::StatusOr<Expression> ParseFiltered() {
    ASSIGN_OR_RETURN(Expression value, ParseUnary());
    while (true) {
      if (IsOperator("|")) {
        ASSIGN_OR_RETURN(value, ParseFilter(std::move(value)));
      } else if (IsName("is")) {
        ASSIGN_OR_RETURN(value, ParseTest(std::move(value)));
      } else {
        return value;
      }
    }
  }

  absl::StatusOr<Expression> ParseUnary() {
    if (!IsOperator("-") && !IsOperator("+")) return ParsePostfix();
    Expression unary = Make(Kind::kUnary, Now().text);
    ++at_;
    if (++depth_ > kMostDepth) return Wrong("nested too deeply");
    RETURN_IF_ERROR(Add(unary, ParseUnary()));
    --depth_;
    return unary;
  }

  absl::StatusOr<Expression> ParseFilter(Expression value) {
    ++at_;
    Expression filter = Make(Kind::kFilter);
    ASSIGN_OR_RETURN(filter.text, ExpectName());
    RETURN_IF_ERROR(Add(filter, std::move(value)));
    if (Take("(")) RETURN_IF_ERROR(ParseArguments(filter));
    return filter;
  }

  absl::StatusOr<Expression> ParseTest(Expression value) {
    ++at_;
    const bool is_negated = Take("not");
    Expression test = Make(Kind::kTest);
    if (Take("in")) {
      test.text = "in";
    } else {
      ASSIGN_OR_RETURN(test.text, ExpectName());
    }
    RETURN_IF_ERROR(Add(test, std::move(value)));
    const bool is_word = Now().kind == TokenKind::kName && !IsName("and") && !IsName("or") &&
                         !IsName("else") && !IsName("is") && !IsName("if") && !IsName("in") && !IsName("not");
    if (Take("(")) {
      RETURN_IF_ERROR(ParseArguments(test));
    } else if (is_word || Now().kind == TokenKind::kString || Now().kind == TokenKind::kNumber ||
               IsOperator("[") || IsOperator("{")) {
      RETURN_IF_ERROR(Add(test, ParsePostfix()));
    }
    if (!is_negated) return test;
    Expression negation = Make(Kind::kUnary, "not");
    RETURN_IF_ERROR(Add(negation, std::move(test)));
    return negation;
  }

  // After "(", to the ")".
  absl::Status ParseArguments(Expression& call) {
    while (!Take(")")) {
      if (Now().kind == TokenKind::kName && After().kind == TokenKind::kOperator && After().text == "=") {
        std::string name = Now().text;
        at_ += 2;
        ASSIGN_OR_RETURN(Expression value, ParseExpression());
        call.depth = std::max(call.depth, value.depth + 1);
        call.names.push_back(std::move(name));
        call.named.push_back(std::move(value));
      } else {
        RETURN_IF_ERROR(Add(call, ParseExpression()));
      }
      if (!IsOperator(")")) RETURN_IF_ERROR(Expect(","));
    }
    return absl::OkStatus();
  }

  absl::StatusOr<Expression> ParsePostfix() {
    ASSIGN_OR_RETURN(Expression value, ParsePrimary());
    while (true) {
      Expression outer = Make(Kind::kCall);
      if (Take("(")) {
        RETURN_IF_ERROR(Add(outer, std::move(value)));
        RETURN_IF_ERROR(ParseArguments(outer));
      } else if (Take(".")) {
        outer.kind = Kind::kAttribute;
        RETURN_IF_ERROR(Add(outer, std::move(value)));
        ASSIGN_OR_RETURN(outer.text, ExpectName());
      } else if (Take("[")) {
        RETURN_IF_ERROR(Add(outer, std::move(value)));
        RETURN_IF_ERROR(ParseSubscript(outer));
      } else {
        return value;
      }
      value = std::move(outer);
    }
  }

  absl::Status ParseSubscript(Expression& outer) {
    const Expression none = {Kind::kLiteral, Now().line, "", {None{}}, {}, {}, {}};
    outer.kind = Kind::kIndex;
    for (int part = 0; part < 3; ++part) {
      const bool is_empty = IsOperator(":") || IsOperator("]");
      if (is_empty) {
        RETURN_IF_ERROR(Add(outer, none));
      } else {
        RETURN_IF_ERROR(Add(outer, ParseExpression()));
      }
      if (!Take(":")) break;
      outer.kind = Kind::kSlice;
    }
    if (outer.kind == Kind::kSlice) outer.items.resize(4, none);
    return Expect("]");
  }

  absl::StatusOr<Expression> ParsePrimary() {
    Expression value = Make(Kind::kLiteral);
    const Token& token = Now();
    switch (token.kind) {
      case TokenKind::kName:
        ++at_;
        return NamedValue(token.text, std::move(value));
      case TokenKind::kString: {
        std::string text;
        while (Now().kind == TokenKind::kString) text += tokens_[at_++].text;
        value.value = {std::move(text)};
        return value;
      }
      case TokenKind::kNumber:
        return ParseNumber(std::move(value));
      default:
        break;
    }
    if (Take("(")) {
      if (Take(")")) return Make(Kind::kList);
      ASSIGN_OR_RETURN(value, ParseExpression());
      if (IsOperator(",")) {
        Expression list = Make(Kind::kList);
        RETURN_IF_ERROR(Add(list, std::move(value)));
        while (Take(",")) {
          if (IsOperator(")")) break;
          RETURN_IF_ERROR(Add(list, ParseExpression()));
        }
        value = std::move(list);
      }
      RETURN_IF_ERROR(Expect(")"));
      return value;
    }
    if (Take("[")) return ParseItems("]", std::move(value));
    if (Take("{")) return ParseItems("}", std::move(value));
    return Wrong(absl::StrCat("expected a value, found ", Found()));
  }

  static Expression NamedValue(const std::string& name, Expression value) {
    if (name == "true" || name == "True") {
      value.value = {true};
    } else if (name == "false" || name == "False") {
      value.value = {false};
    } else if (name == "none" || name == "None") {
      value.value = {None{}};
    } else {
      value.kind = Kind::kName;
      value.text = name;
    }
    return value;
  }

  absl::StatusOr<Expression> ParseNumber(Expression value) {
    const std::string& text = Now().text;
    const char* end = text.data() + text.size();
    int64_t integer = 0;
    double number = 0;
    if (text.find('.') != std::string::npos) {
      std::from_chars(text.data(), end, number);
      value.value = {number};
    } else if (std::from_chars(text.data(), end, integer).ec == std::errc() && integer <= kLargestInteger) {
      value.value = {integer};
    } else {
      return Wrong(absl::StrCat(text, " is too large"));
    }
    ++at_;
    return value;
  }

  absl::StatusOr<Expression> ParseItems(const char* end, Expression value) {
    const bool is_dict = *end == '}';
    value.kind = is_dict ? Kind::kDict : Kind::kList;
    while (!Take(end)) {
      RETURN_IF_ERROR(Add(value, ParseExpression()));
      if (is_dict) {
        RETURN_IF_ERROR(Expect(":"));
        RETURN_IF_ERROR(Add(value, ParseExpression()));
      }
      if (!IsOperator(end)) RETURN_IF_ERROR(Expect(","));
    }
    return value;
  }

  const std::vector<Token> tokens_;
  size_t at_ = 0;
  int depth_ = 0;
};

}  // namespace

absl::StatusOr<std::vector<Statement>> Parse(const std::string& source) {
  ASSIGN_OR_RETURN(std::vector<Token> tokens, Tokenize(source));
  return Parser(std::move(tokens)).Run();
}

}  // namespace retort::jinja

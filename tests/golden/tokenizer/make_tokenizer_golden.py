#!/usr/bin/env python3
"""Writes the goldens that train/data/tokenizer_test.cc compares with: three small BPEs, nasty strings, and what
the Python library makes of them with each family's pipeline.

    python make_tokenizer_golden.py          # in this directory; needs tokenizers 0.23.3, and no network

The tokenizers are trained on the licences of Debian's base-files and on this script's own sentences:
  digits.json   Digits + ByteLevel as in SmolLM2; merges written "a b"; only bytes that the corpus has
  split.json    a Split regex as in Llama 3, ignore_merges; merges written ["a", "b"]; all 256 bytes
  pieces.json   a vocabulary of characters with byte fallback, as of Llama 2
  cases.json    {"texts": [{"text" or "hex" or "repeat"}],
                 "families": {NAME: {"base": FILE, "set": {}, "around": [ids before, ids after], "sums": ""}},
                 "pre_texts": [], "pre_tokenizers": [{"pre_tokenizer": {}, "ids": one list per text of "pre_texts"}]}
"set" replaces members of the base (those of "model" one by one); six digits of "sums" stand for the ids of one text
and what they decode to (see checksum). The "pre_tokenizers" replace split.json's.
"""
import json
import random
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

HERE = Path(__file__).parent
LICENCES = ["GPL-3", "Apache-2.0", "MPL-2.0"]
SENTENCES = """\
It's 2024: the naïve café cost 1,234.56€, and we've paid — they'll say they'd rather not. \
I'm sure you're right.
Größe, Übermut, straße; ça va? Ελληνικά γράμματα. Русский текст без смысла. 日本語の文章です。한국어 문장입니다. العربية نص.
🙂🙃 👩‍👩‍👧‍👦 🇩🇪 e\u0301 n\u0303 हिन्दी में कुछ शब्द.  \
\tTabs\tand  spaces   in    runs.\r\nWindows lines.\r\n\r\n
def f(x):\n    return {"a": [1, 22, 333], 'b': x ** 2}  \
# comment\n\n\nSELECT * FROM t WHERE x >= 10 AND y != 'z';
"""
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
GPT4O = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
         r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
         r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")

NASTY = [
    "", " ", "  ", "\n", "\r\n", "\r\r\n\n", "\t \t", "a", "A", "0", "\x00", "a\x00b",
    "\x00\x00 \x01\x1f\x7f\x80",
    "Hello, world!", " Hello", "Hello ", "  Hello  world  ",
    "don't DON'T don\u2019t I'll we'VE 's 'S '\u017f x'd'",
    "1", "12", "123", "1234", "12345678901234567890", "3.14159", "1 2  3   4", "a1b2c3", "x=10,y=-20",
    "٣٤٥ ½ ² Ⅷ ①",
    "line one\nline two\r\nline three\rline four\n\n\nend", "trailing spaces   \n   leading", " \n \n",
    "\n  \n\t",
    "        return x", "a" + " " * 50 + "b", " " * 100, "\t" * 30, "\u00a0nbsp\u00a0\u00a0x",
    "\u2003em\u2028ls\u2029ps",
    "\u180emongolian\u180e \u180e", "\u200bzwsp\u200b", "\ufefffront", "\u3000ideographic\u3000",
    "a\u0085b \u0085 c",
    "\x1c\x1d\x1e\x1f", "x\x0by\x0cz", "naïve café", "nai\u0308ve cafe\u0301", "\u0301 lone",
    "Z\u0351\u036b\u0343algo",
    "日本語の文章", "中文，标点。", "한국어", "עברית", "العربية ١٢٣", "हिन्दी", "ไทย", "Ελληνικά", "Русский", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢",
    "𠜎𠜱",
    "🙂", "🙂🙃", " 🙂 ", "👩‍👩‍👧‍👦", "🇩🇪🇫🇷", "👍🏽", "ﬁ ﬆ ſt", "İstanbul ıI", "ẞß", "\ufffd", "\U0010ffff",
    "\ue000",
    "<|endoftext|>", "a<|endoftext|>b", " <|endoftext|> ", "<|endoftext|><|endoftext|>", "<|endoftext", "|>",
    "<|im_start|>user\nHi<|im_end|>\n", "<|<|endoftext|>|>", "<|endoftext|>123<|im_end|>", "<repo>",
    "<repo>x <repo>",
    "<repo><repo_name>", "<repo_name>s<repo_name>", "x  <mask>  y", "<mask> <mask>", "a \n <mask>",
    "x  <after>  y<after>",
    "<after>  <mask>",
    "<MASK>", "{}[]()<>", "a.b.c,d;e:f", "!!!???...", "---===+++", "https://example.org/a?b=c&d=%20",
    "C:\\dir\\f",
    "foo_bar fooBar FOOBar fooBAR1", "émile's 'quote' ''''", "def f(x):\n    return x\n",
    "{\"k\": [1, 2]}\n", "#!/bin/sh",
    "The GNU General Public License is a free, copyleft license for software and other kinds of works.",
]
NASTY += [
    # Contractions in all cases, apostrophes of all kinds.
    "I'm I'M i'm I'm I\u2019m", "'S'T'RE'VE'M'LL'D", "'s't're've'm'll'd", "we'Re they'vE he'Ll she'D it'\u017f",
    "''" + "'s", "o'clock rock'n'roll", "' s ' t", "x'sx x'rex",
    # Numbers.
    "0000000000", "1,000,000.00", "1e10 0x1F 1_000", "12 345 6789 0", "\u0661\u0662\u0663\u0664",
    "\U0001d7d8\U0001d7d9\U0001d7da", "\u00bc\u00b2\u2075", "1\u03012\u0301", "v1.2.3-rc4+5", "\u2167\u216b 12\u20e3",
    # Composition: marks out of order, exclusions, Hangul by parts, marks at the start and after spaces.
    "e\u0301 \u00e9 E\u0302\u0301 \u1ebe", "a\u0323\u0307 a\u0307\u0323", "q\u0307\u0323",
    "\u0344 \u0958 \u0915\u093c \u2adc", "\u1112\u1161\u11ab\u1100\u1173\u11af", "\ud55c\u11ab \uac00\u11a8",
    "\u212b \u2126 \u212a \ufb01 \u2460", "\u0301e \u0301 e\u0301\u0301\u0301", "a\u0301\u0315\u0300\u05ae\u0308b",
    "\u0b47\u0b56 \u0b47\u0b3e \u09c7\u09be", "\U0001d15e \U0001d1bc", "\u0340\u0341 \u0374 \u037e \u0387",
    "<\u1100\u1161> <\uac00>", "\u00e9<\u1100\u1161\u11a8>\u0301 <\u1100\u1161>\u0301", "\u03b1\u0345\u0301\u0313 \u1f84",
    "\u30cf\u3099 \u30d0 \uff8a\uff9e", "\u0f71\u0f72\u0f73",
    # Right to left, joiners, variation selectors, tags.
    "\u05e9\u05c1\u05b8\u05dc\u05d5\u05b9\u05dd", "\u200fabc\u200e \u202eevil\u202c",
    "\u0627\u0644\u0633\u0651\u064e\u0644\u0627\u0645\u064f 123", "\u2764\ufe0f\u200d\U0001f525",
    "\U0001f3f4\U000e0067\U000e0062\U000e007f", "\u0915\u094d\u200d\u0937 \u0915\u094d\u0937",
    # Line ends, spaces, what stands for a space.
    "\r", "\r\r", "\n\r", "a\r\n\r\nb", "a \r\n b", " \r\n \r\n", "\n\n\n   \n", "a\u2581b \u2581 \u2581\u2581c",
    "\u2581", " \u2581", "   x", "x   ", " a  b   c    d", "\t x\t\ty", "\u2028\u2029", "a\xa0\xa0 b",
    "<0x41> <0x0A> <0xZZ>",
    # Added tokens inside words, alone, with spaces, in each other.
    "<s>", "</s>", "<s>Hello</s>", "a<s> b </s> c", " <s> x", "<s><s>", "<unk> <unk>", "Hello <s> world",
    "word xword wordx word. (word) \u00e9word word\u0301 _word 1word word-word", "word", " word ",
    "wordword word word", "\u200dword word\u203f", "two words", " two words ", "twotwo words", "two  words",
    "two\u2581words", "x <mask> <mask>", "<mask>  <after>  <mask> \n", "<|begin_of_text|>Hi",
    "<think>\n\n</think>\n\nyes", "<after> <think> x", "x <both> y", "x<both>y <both> <both>", " <both>\n(<both> )",
    "\u3042\u306eword\u3067\u3059", "$\\frac{a}{b}$ & \\\\ % ~", "\x7f\x80\x9f\xad", "\ufdd0\uffff\U0001ffff",
    "\u0378\u0e5c", "\u1c90\u10d0 \uab70\u13a0 \u01c5\u02b0", "\U00016e40\U0001e900",
    "\u3007\u3021 \u4e00\u4e8c\u4e09", "___ __init__ snake_case_",
]
REPEATS = [["e\u0301", 200], ["\u0301\u0323", 300], ["\r\n", 200], ["word ", 100], ["\u2581", 200], ["\x00", 100],
           ["\U00012345", 60], ["a", 3000], ["ab", 1500], ["the", 700], ["é", 700], ["日本", 300], ["1", 400], [" ", 2000],
           ["\n", 600],
           ["' ", 300], ["license", 300], ["🙂", 200]]
INVALID = [b"\x80", b"\xff\xfe", b"a\xc3", b"a\xc3(", b"\xe2\x82", b"\xe2\x82\xac\xe2\x82",
           b"\xf0\x9f\x99", b"\xf0\x9fx",
           b"\xc0\xaf", b"\xe0\x80\xaf", b"\xed\xa0\x80", b"\xed\xb0\x80", b"\xf4\x90\x80\x80",
           b"\xf5\x80\x80\x80",
           b"ok \xff ok", b"\xf0\x80\x80\x80<|endoftext|>\xe1\x80\xe2",
           b"long enough for eight \xfe bytes at once"]

BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}


def split(pattern, behavior="Isolated", invert=False):
    return {"type": "Split", "pattern": pattern, "behavior": behavior, "invert": invert}


def sequence(*members):
    return {"type": "Sequence", "pretokenizers": list(members)}


PRE_TOKENIZERS = [
    {**BYTE_LEVEL, "use_regex": True},
    {**BYTE_LEVEL, "use_regex": True, "add_prefix_space": True},
    {**BYTE_LEVEL, "add_prefix_space": True},
    sequence({"type": "Digits", "individual_digits": False}, BYTE_LEVEL),
    sequence({"type": "Digits", "individual_digits": True},
             {**BYTE_LEVEL, "use_regex": True, "add_prefix_space": True}),
    sequence(split({"Regex": QWEN2}), BYTE_LEVEL),
    sequence(split({"Regex": GPT4O}), BYTE_LEVEL),
    sequence(split({"Regex": QWEN2}, "Removed", True), BYTE_LEVEL),
    sequence(split({"Regex": r"\p{N}{1,3}"}), split({"Regex": "[一-龥ぁ-ゟ゠-ヿ]+"}),
             split({"Regex": r"[!-\/:-~]?[A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+"
                             r"[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"}), BYTE_LEVEL),
] + [sequence(split({"Regex": r"\s"}, behavior, invert), BYTE_LEVEL)
     for behavior in ("Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous")
     for invert in (False, True)] + [
    sequence(split({"String": " "}, "MergedWithNext"), BYTE_LEVEL),
    sequence(split({"String": ".b"}, "Removed"), BYTE_LEVEL),
]
PRE_TEXTS = ["", " ", "  a  b ", "one two  three\n\n four", "a1b22c333d4444", "日本語 with 漢字 and かな!",
             "it's John's", "don'T",
             "a.b.c.b", "fooBar FOOBar x'll", "1234567 89", " lead", "trail ", "x<|endoftext|> y",
             "é\u0301 🙂!?\r\n\r\nz", "٣٤٥½"]


def metaspace(scheme, split=False):
    return {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": scheme, "split": split}


def template(*names):
    return {"type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": names[0], "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
            + [{"SpecialToken": {"id": name, "type_id": 0}} for name in names[1:]],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}]}


def added(first, *tokens):
    return [{"id": first + i, "content": content, "single_word": False, "lstrip": False, "rstrip": False,
             "normalized": False, "special": False, **flags} for i, (content, flags) in enumerate(tokens)]


SPECIAL = {"special": True}
# Beside each family's own, in every family: each flag once, and one that NFC changes.
OTHERS = [("<mask>", {**SPECIAL, "lstrip": True}), ("<after>", {**SPECIAL, "rstrip": True}),
          ("word", {"single_word": True}), ("two words", {"normalized": True}), ("<\u1100\u1161>", {"normalized": True}),
          ("<both>", {"single_word": True, "lstrip": True, "rstrip": True, "normalized": True})]
CHATML = [("<|endoftext|>", SPECIAL), ("<|im_start|>", SPECIAL), ("<|im_end|>", SPECIAL)]
OLD_BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True}
BYTE_DECODER = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
PIECES_DECODER = {"type": "Sequence", "decoders": [
    {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
    {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}
LLAMA2 = {
    "normalizer": {"type": "Sequence", "normalizers": [
        {"type": "Prepend", "prepend": "\u2581"},
        {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}]},
    "pre_tokenizer": None, "post_processor": template("<s>"), "decoder": PIECES_DECODER,
    "added_tokens": added(0, ("<unk>", SPECIAL), ("<s>", SPECIAL), ("</s>", SPECIAL)) + added(700, *OTHERS)}
# The pipelines that the families publish, with our vocabularies.
FAMILIES = {
    "gpt2": ("split.json", {
        "pre_tokenizer": {**BYTE_LEVEL, "use_regex": True}, "post_processor": OLD_BYTE_LEVEL,
        "decoder": BYTE_DECODER, "model": {"ignore_merges": False},
        "added_tokens": added(0, ("<|endoftext|>", {**SPECIAL, "normalized": True})) + added(1000, *OTHERS)}),
    "llama3": ("split.json", {
        "pre_tokenizer": sequence(split({"Regex": LLAMA3}), BYTE_LEVEL),
        "post_processor": {"type": "Sequence", "processors": [OLD_BYTE_LEVEL, template("<|begin_of_text|>")]},
        "decoder": BYTE_DECODER, "model": {"ignore_merges": True},
        "added_tokens": added(0, *CHATML) + added(1000, ("<|begin_of_text|>", SPECIAL), *OTHERS)}),
    "qwen": ("split.json", {  # Qwen2 and Qwen3
        "normalizer": {"type": "NFC"}, "pre_tokenizer": sequence(split({"Regex": QWEN2}), BYTE_LEVEL),
        "post_processor": {**BYTE_LEVEL, "trim_offsets": False}, "decoder": BYTE_LEVEL,
        "model": {"ignore_merges": False},
        "added_tokens": added(0, *CHATML) + added(1000, ("<think>", {}), ("</think>", {}), *OTHERS)}),
    "smollm2": ("digits.json", {
        "pre_tokenizer": sequence({"type": "Digits", "individual_digits": True}, {**BYTE_LEVEL, "use_regex": True}),
        "added_tokens": added(0, *CHATML) + added(1000, *OTHERS)}),
    "llama2": ("pieces.json", LLAMA2),
    "llama2_normalized": ("pieces.json", {**LLAMA2, "added_tokens": [
        {**token, "normalized": True} for token in LLAMA2["added_tokens"]]}),
    "mistral": ("pieces.json", {
        **LLAMA2, "normalizer": None, "pre_tokenizer": metaspace("first"),
        "post_processor": template("<s>", "</s>")}),
    "metaspace": ("pieces.json", {
        **LLAMA2, "normalizer": None, "pre_tokenizer": metaspace("always", True), "decoder": metaspace("always", True),
        "model": {"byte_fallback": False, "fuse_unk": False}}),
    "gemma": ("pieces.json", {
        **LLAMA2, "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"},
        "pre_tokenizer": split({"String": " "}, "MergedWithPrevious"),
        "decoder": {"type": "Sequence", "decoders": PIECES_DECODER["decoders"][:3]},
        "model": {"byte_fallback": False}}),
}


def corpus():
    for name in LICENCES:
        yield Path("/usr/share/common-licenses", name).read_text()
    for _ in range(20):
        yield SENTENCES


def train(pre_tokenizer, alphabet, **model):
    tokenizer = Tokenizer(models.BPE(**model))
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=1000, show_progress=False, initial_alphabet=alphabet,
                                  special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    tokenizer.train_from_iterator(corpus(), trainer)
    tokenizer.add_tokens([AddedToken("<repo>", normalized=True), AddedToken("<repo_name>", normalized=False),
                          AddedToken("<repo_name>s", normalized=False)])
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True), AddedToken("<after>", rstrip=True)])
    return tokenizer


def train_pieces():
    """A model like Llama 2's: <unk>, <s>, </s>, the 256 bytes, then pieces in which \u2581 stands for a space."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    names = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)]
    tokenizer.train_from_iterator(corpus(), trainers.BpeTrainer(
        vocab_size=700, show_progress=False, limit_alphabet=90, special_tokens=names))
    stored = json.loads(tokenizer.to_str())
    stored["model"].update(unk_token="<unk>", byte_fallback=True, fuse_unk=True)
    stored.update({k: LLAMA2[k] for k in ("normalizer", "pre_tokenizer", "decoder")}, added_tokens=[])
    return stored


def fuzz(count):
    """Strings of random pieces of the nasty ones, and of single characters."""
    draw = random.Random(7)
    pieces = [s for s in NASTY if s] + list("  \n\r\t'\"0123456789abcdeXYZ.,;-") + SENTENCES.split(" ")
    marks = "\u0301\u0323\u0307\u0345\u093c\u3099\u05b8\u1161\u11a8\u200d"
    return ["".join(draw.choice(marks) if draw.random() < 0.1 else draw.choice(pieces)[:24]
                    for _ in range(draw.randint(2, 5))) for _ in range(count)]


def ids(tokenizer, text):
    return tokenizer.encode(text, add_special_tokens=False).ids


def checksum(found, decoded):
    """The low 24 bits of FNV-1a over the ids, four bytes each with the lowest first, and the text."""
    value = 0xcbf29ce484222325
    for byte in b"".join(i.to_bytes(4, "little") for i in found) + decoded.encode():
        value = (value ^ byte) * 0x100000001b3 % 2**64
    return f"{value % 2**24:06x}"


def run_family(base, changes, texts):
    stored = json.loads((HERE / base).read_text())
    model = {**stored["model"], **changes.get("model", {})}
    known = {token["content"]: token["id"] for token in changes["added_tokens"]}
    for processor in (changes.get("post_processor") or {}).get("processors", [changes.get("post_processor") or {}]):
        if processor.get("type") == "TemplateProcessing":
            names = [item["SpecialToken"]["id"] for item in processor["single"] if "SpecialToken" in item]
            processor["special_tokens"] = {n: {"id": n, "ids": [known[n]], "tokens": [n]} for n in names}
    tokenizer = Tokenizer.from_str(json.dumps({**stored, **changes, "model": model}))
    sums = ""
    for text in texts:
        found = ids(tokenizer, text)
        sums += checksum(found, tokenizer.decode(found, skip_special_tokens=False))
    whole, inner = tokenizer.encode("a b").ids, ids(tokenizer, "a b")
    start = next(i for i in range(len(whole)) if whole[i:i + len(inner)] == inner)
    return {"base": base, "set": changes, "around": [whole[:start], whole[start + len(inner):]], "sums": sums}


def write(name, value, **options):
    (HERE / name).write_text(json.dumps(value, separators=(",", ":"), **options) + "\n")


def main():
    digits = train(pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]), [])
    llama = train(pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(LLAMA3), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]),
                  pre_tokenizers.ByteLevel.alphabet(), ignore_merges=True)
    stored = json.loads(digits.to_str())
    stored["model"]["merges"] = [m if isinstance(m, str) else " ".join(m) for m in stored["model"]["merges"]]
    write("digits.json", stored, ensure_ascii=False)
    stored = json.loads(llama.to_str())
    write("split.json", stored, ensure_ascii=False)
    write("pieces.json", train_pieces(), ensure_ascii=False)

    cases = [({"text": t}, t) for t in NASTY + fuzz(360)]
    cases += [({"repeat": [t, n]}, t * n) for t, n in REPEATS]
    cases += [({"hex": b.hex()}, b.decode("utf-8", "replace")) for b in INVALID]
    texts = [text for _, text in cases]
    variants = []
    for pre_tokenizer in PRE_TOKENIZERS:
        tokenizer = Tokenizer.from_str(json.dumps({**stored, "pre_tokenizer": pre_tokenizer}))
        variants.append({"pre_tokenizer": pre_tokenizer, "ids": [ids(tokenizer, t) for t in PRE_TEXTS]})
    write("cases.json", {
        "texts": [case for case, _ in cases],
        "families": {name: run_family(*family, texts) for name, family in FAMILIES.items()},
        "pre_texts": PRE_TEXTS, "pre_tokenizers": variants})


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""What transformers renders of chat templates: make_chats.py > chats.json

Needs transformers 5.24 with jinja2 3.1.6. With arguments it takes those files as the templates instead of its own,
to compare with templates that are not ours to keep: make_chats.py FILE.jinja... > tests/golden/chat/others.json
(the test reads every .json here).
"""
import json
import pathlib
import sys

from transformers.utils.chat_template_utils import _compile_jinja_template

TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "</s>"}

ASK = [{"role": "user", "content": "How are you?"}]
CHATS = [
    ASK,
    [{"role": "system", "content": " Be brief. "}] + ASK,
    ASK + [{"role": "assistant", "content": "Well, thank you.\n"}, {"role": "user", "content": "Größe: 3 < 4 & \"5\"\\"}],
    ASK + ASK,
    [{"role": "assistant", "content": "I begin."}],
    ASK + [{"role": "assistant", "content": "<think>\nhm\n</think>\n\nYes."}] + ASK,
]

# In the manner of the known families, and one for each thing that templates do.
TEMPLATES = {
    "chatml": "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nBe kind<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + "
    "message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|im_start|>assistant\n' }}{% endif %}",
    "headers": """{{- bos_token }}
{%- if custom_tools is defined %}
    {%- set tools = custom_tools %}
{%- endif %}
{%- if not date_string is defined %}
    {%- set date_string = "26 Jul 2024" %}
{%- endif %}
{%- if not tools is defined %}
    {%- set tools = none %}
{%- endif %}

{#- The system message is taken out. #}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|head|>system<|end|>\\n\\n" }}
{%- if tools is not none %}
    {{- "Environment: x\\n" }}
{%- endif %}
{{- "Date: " + date_string + "\\n\\n" }}
{{- system_message }}
{{- "<|eot|>" }}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|head|>' + message['role'] + '<|end|>\\n\\n'+ message['content'] | trim + '<|eot|>' }}
    {%- elif 'tool_calls' in message %}
        {%- if not message.tool_calls|length == 1 %}
            {{- raise_exception("one call at once!") }}
        {%- endif %}
        {%- set tool_call = message.tool_calls[0].function %}
        {{- '"arguments": ' }}{{- tool_call.arguments | tojson }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|head|>assistant<|end|>\\n\\n' }}
{%- endif %}
""",
    "inst": """{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{%- set user_messages = loop_messages | selectattr("role", "equalto", "user") | list %}

{%- set ns = namespace() %}
{%- set ns.index = 0 %}
{%- for message in loop_messages %}
    {%- if not (message.role == "tool" or (message.tool_calls is defined and message.tool_calls is not none)) %}
        {%- if (message["role"] == "user") != (ns.index % 2 == 0) %}
            {{- raise_exception("roles must alternate: " ~ ns.index) }}
        {%- endif %}
        {%- set ns.index = ns.index + 1 %}
    {%- endif %}
{%- endfor %}

{{- bos_token }}
{%- for message in loop_messages %}
    {%- if message["role"] == "user" %}
        {%- if loop.last and system_message is defined %}
            {{- "[INST] " + system_message + "\\n\\n" + message["content"] + "[/INST]" }}
        {%- else %}
            {{- "[INST] " + message["content"] + "[/INST]" }}
        {%- endif %}
    {%- elif message["role"] == "assistant" %}
        {{- " " + message["content"]|trim + eos_token}}
    {%- else %}
        {{- raise_exception("only user and assistant") }}
    {%- endif %}
{%- endfor %}
{{- user_messages | length }}
""",
    "thinking": """{%- set ns = namespace(several=true, last=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.several and message.role == "user" and message.content is string and not(message.content.startswith('<x>') and message.content.endswith('</x>')) %}
        {%- set ns.several = false %}
        {%- set ns.last = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.content is string %}
        {%- set content = message.content %}
    {%- else %}
        {%- set content = '' %}
    {%- endif %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) %}
        {{- '<|' + message.role + '|>' + content + '</>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {%- set thought = '' %}
        {%- if message.reasoning_content is string %}
            {%- set thought = message.reasoning_content %}
        {%- elif '</think>' in content %}
            {%- set thought = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {%- if loop.index0 > ns.last and (loop.last or (not loop.last and thought)) %}
            {{- '<|' + message.role + '|><think>\\n' + thought.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}
        {%- else %}
            {{- '<|' + message.role + '|>' + content }}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|assistant|>' }}
    {%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>' }}{%- endif %}
{%- endif %}""",
    "white space": "a\n  {% if true %}  \n b {%- if true %}\n\nc{% endif -%}\n  d\n{# note #}\ne {# note -#}  \n f\n  {%+ if true %}x{% endif +%}\n"
    "  {{ 1 }}\n  {{- 2 -}}\n  3\n{% endif %}\n\tg {# h\ni #}\n\n",
    "loops": "{% for m in messages %}{{ loop.index }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.length }}"
    "{% if loop.previtem is defined %}<{{ loop.previtem.role }}{% endif %}{% if loop.nextitem is defined %}>{{ loop.nextitem.role }}"
    "{% endif %};{% if loop.index == 2 %}{% break %}{% endif %}{% endfor %}"
    "{% for m in messages if m.role == 'user' %}{% if loop.first %}{% continue %}{% endif %}{{ loop.index }}{% endfor %}{% for m in messages if m.role == 'x' %}{{ m }}{% else %}none{% endfor %}"
    "{% for k, v in messages[0].items() %}{{ k }}={{ v }},{% endfor %}{% for i in range(3) %}{{ i }}{% endfor %}"
    "{% for i in range(5, 0, -2) %}{{ i }}{% endfor %}{% for x in missing %}x{% else %}empty{% endfor %}{{ x is defined }}"
    "{% for (a, b) in [(1, 2), (3, 4)] %}{{ a * b }} {% endfor %}",
    "scopes": "{% set a = 1 %}{% for i in range(2) %}{% set a = a + 10 %}{{ a }} {% endfor %}{{ a }}{% if true %}{% set a = 5 %}{% endif %}{{ a }}"
    "{% set n = namespace(x=[], y='') %}{% for i in range(2) %}{% set n.x = n.x + [i] %}{% set n.y = n.y ~ i %}{% endfor %}{{ n.x | length }}{{ n.y }}"
    "{% set long %}b{{ a }}\n{% endset %}{{ long | trim }}!",
    "macros": "{% macro show(m, end='.', start='') %}{{ start }}{{ m.role }}{% if m.content %}: {{ m.content | trim }}{% endif %}{{ end }}{% endmacro %}"
    "{% for m in messages %}{{ show(m) }}{{ show(m, start='<', end='>') }}{{ show(m, '!') | replace('user', 'U') }}{% endfor %}",
    "filters": "{% set m = messages[-1].content %}{{ m | trim | length }}|{{ messages[0].content | upper }}|{{ 'AB c' | lower }}|{{ messages[0].role | capitalize }}|{{ m | replace('e', '<E>') }}|"
    "{{ missing | default('d') }}|{{ '' | default('d') }}|{{ '' | default('d', true) }}|{{ messages | map(attribute='role') | join(', ') }}|"
    "{{ [1, 'a', none, true, 1.5] | tojson }}|{{ messages | tojson }}|{{ messages | tojson(indent=2) }}|{{ m | tojson }}|{{ [] | tojson(indent=4) }}|"
    "{{ '42' | int + 1 }}|{{ 'x' | int }}|{{ 3.9 | int }}|{{ messages | first | tojson }}|{{ messages | rejectattr('role', 'equalto', 'user') | list | length }}|"
    "{{ 'abc' | reverse | list | join }}|{{ 'abc' | first }}{{ 'abc' | last }}|{{ messages[0] | items | list | length }}|{{ 5 | string + '6' }}",
    "tests": "{{ messages is sequence }}{{ messages is iterable }}{{ messages is mapping }}{{ messages[0] is mapping }}{{ 'a' is string }}{{ 1 is number }}"
    "{{ true is boolean }}{{ 1 is boolean }}{{ none is none }}{{ x is none }}{{ x is undefined }}{{ x is not defined }}{{ 3 is odd }}{{ 3 is even }}"
    "{{ 2 is eq 2 }}{{ 2 is equalto(3) }}{{ 'a' is in ['a'] }}{{ 1 is true }}{{ true is true }}{{ tools is defined and tools is none }}",
    "methods": "{% set s = '  a,b,,c  ' %}[{{ s.strip() }}][{{ s.lstrip() }}][{{ s.rstrip(' c') }}][{{ s.split(',') | join('/') }}][{{ s.split(',', 1) | join('/') }}]"
    "[{{ s.rsplit(',', 1) | join('/') }}][{{ s.split() | join('/') }}][{{ s.strip().startswith('a') }}{{ s.endswith('c') }}{{ s.startswith(('x', ' ')) }}]"
    "[{{ s.replace(',', '') }}][{{ 'a-b'.title() }}{{ 'AB'.lower() }}{{ 'ab'.upper() }}{{ 'aB cD'.capitalize() }}][{{ messages[0].get('role') }}{{ messages[0].get('x') }}"
    "{{ messages[0].get('x', 'y') }}][{{ messages[0].keys() | join(',') }}][{{ messages[0].values() | list | length }}][{{ ', '.join(['p', 'q']) }}]",
    "operators": "{{ 7 // 2 }} {{ -7 // 2 }} {{ 7 % 3 }} {{ -7 % 3 }} {{ 7 / 2 }} {{ 2 ** 5 }} {{ 2 * 3 + 4 }} {{ 2 + 3 * 4 }} {{ 1 ~ 'a' ~ none }} {{ 'a' + 'b' }} {{ 1.0 }} {{ 1 == 1.0 }}"
    " {{ 1 < 2 and 2 < 3 }} {{ 1 < 2 < 2 }} {{ 'a' < 'b' }} {{ 'b' >= 'b' }} {{ not true or true }} {{ not (true or true) }} {{ 0 or 'x' }} {{ '' and 'x' }} {{ 1 if false else 2 }}|{{ 1 if false }}|"
    " {{ 'a' in 'cat' }} {{ 'x' not in ['y'] }} {{ 'role' in messages[0] }} {{ -3 + 1 }} {{ 'ab' 'cd' }} {{ (1, 2) | length }} {{ {'k': 1, 'l': [2]}['l'][0] }} {{ not 1 == 2 }} {{ 1 ~ 2 + '3' }}"
    " {{ [1] + [2] == [1, 2] }} {{ 'abc'[1] }} {{ 'Größe'[2:4] }} {{ 'Größe' | length }} {{ 'abcdef'[-3:] }} {{ 'abcdef'[::2] }} {{ 'abc'[::-1] }} {{ [1, 2, 3][5] is defined }} {{ messages[0].nothing is defined }} {{ true + 1 }}",
    "literals": "{{ 'a\\tb\\u00e9\\x41\\'' }}{{ \"'\" }}{{ True }}{{ False }}{{ None }}",
    "undefined attribute": "{{ nothing.role }}",
    "wrong sum": "{{ 'a' + none }}",
    "sum with undefined": "{{ 'a' + nothing }}",
    "generation": "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{{ eos_token }}{% endgeneration %}{% else %}{{ m.role[0] }}{% endif %}{% endfor %}",
    "tokens": "{{ bos_token }}{{ eos_token }}{{ unk_token }}{{ pad_token }}{{ sep_token }}{{ sep_token is defined }}{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}{{ add_generation_prompt }}",
}


def main() -> None:
    templates = {file: pathlib.Path(file).read_text() for file in sys.argv[1:]} or TEMPLATES
    cases = []
    for name, source in templates.items():
        for chat in CHATS:
            for answers in (True, False):
                case = {"name": pathlib.Path(name).name, "template": source, "chat": chat, "answers": answers}
                try:
                    case["text"] = _compile_jinja_template(source).render(
                        messages=chat, tools=None, documents=None, add_generation_prompt=answers, **TOKENS)
                except Exception as error:  # the template's own, or jinja2's: the test expects an error too
                    case["error"] = str(error)
                cases.append(case)
    shared = {}
    for case in cases:
        shared.setdefault(case["template"], {"name": case["name"], "template": case["template"], "chats": []})[
            "chats"].append({key: case[key] for key in ("chat", "answers", "text", "error") if key in case})
    json.dump({"tokens": TOKENS, "templates": list(shared.values())}, sys.stdout, ensure_ascii=False, indent=1)
    print()


if __name__ == "__main__":
    main()

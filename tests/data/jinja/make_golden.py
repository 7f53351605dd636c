"""Renders templates/*.jinja with conversations, and small snippets, as transformers (5.x) does.

    TZ=UTC python make_golden.py

Writes chat.golden.jsonl and snippets.golden.jsonl: per line a template (its name, or its text), the conversation's name and settings,
the expected text (null: it must fail), and the bytes that stand in generation blocks.
"""
import datetime
import json
import pathlib

from transformers.utils import chat_template_utils

HERE = pathlib.Path(__file__).parent
NOW = 1700000000
SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}


class FixedTime(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return datetime.datetime.fromtimestamp(NOW, tz)


chat_template_utils.datetime = FixedTime


TOOL = {"type": "function", "function": {"name": "get_weather", "description": "Weather \"now\" in a caf\u00e9 <b>", "parameters": {"type": "object", "properties": {"city": {"type": "string", "description": "City"}, "unit": {"type": "string", "enum": ["c", "f"]}}, "required": ["city"]}}}
CONVERSATIONS = {
 "one":[{"role": "user", "content": "What is 2+2?"}],
 "pair":[{"role": "user", "content": " Hi there \n"},{"role": "assistant", "content": "  Hello!\n\nHow are you? "}],
 "system":[{"role": "system", "content": "You are terse.\n"},{"role": "user", "content": "Name a \"colour\"."},{"role": "assistant", "content": "Blue \u00e9\u4e2d."}],
 "long":[{"role": "system", "content": "S"},{"role": "user", "content": "a"},{"role": "assistant", "content": "b"},{"role": "user", "content": "c"},{"role": "assistant", "content": "d"},{"role": "user", "content": "e"}],
 "wrong":[{"role": "assistant", "content": "first"},{"role": "user", "content": "second"},{"role": "user", "content": "third"}],
 "think":[{"role": "user", "content": "q"},{"role": "assistant", "content": "<think>\nhmm\n</think>\n\nanswer"},{"role": "user", "content": "r"},{"role": "assistant", "content": "<think>x</think>y","reasoning_content":"because"}],
 "parts":[{"role": "user", "content": [{"type":"text","text":"part one"},{"type":"text","text":"two"}]},{"role": "assistant", "content": [{"type":"text","text":"ok"}]}],
 "tools":[{"role": "system", "content": "Use tools."},{"role": "user", "content": "Weather?"},{"role": "assistant", "content": "","tool_calls":[{"id":"abc123def","type":"function","function":{"name":"get_weather","arguments":{"city":"Paris","n":3,"x":1.5,"f":True,"z":None}}}]},{"role": "tool","name":"get_weather","tool_call_id":"abc123def", "content": "{\"t\": 20}"},{"role": "assistant", "content": "20 degrees."}],
 "none":[{"role": "user", "content": "x"},{"role": "assistant", "content": None}],
 "empty":[],
}

VARIABLES = {"x": 3, "y": -7, "f": 2.5, "s": "h\u00e9llo W\u00f6rld", "e": "", "l": [3, 1, 2], "d": {"b": 1, "a": [1, {"k": "v"}], "items": 5}, "t": True, "n": None,
     "ms": [{"role": "user", "content": "A", "w": 2}, {"role": "bot", "content": "b", "w": 1}, {"role": "user", "content": "a"}], "html": "<a href='x'>&\"</a>"}
SNIPPETS = [
 "a\n{% if t %}\n  b\n{% endif %}\nc\n", "a\n   {% if t %}   \n  b\n   {%- endif -%}   \nc\n\n", "  {%+ if t %}x{% endif +%}\n y", "{{ x }}\n{{- x -}}\n z",
 "{# c #}\n  {# d #}  \nq", "a {#- c -#}  b", "{% raw %}{{ x }}{% y %}{% endraw %}z", "a{% raw -%}  \n q {%- endraw %}\nb", "\r\na\r\nb\r", "x\n\n", "\n{% set a = 1 %}\n{{ a }}",
 "{{ 1 + 2 * 3 - 4 // 3 % 2 ** 2 }} {{ 7 / 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 7 % -3 }} {{ 2 ** 3 ** 2 }} {{ -2 ** 2 }} {{ 2 ** -1 }}",
 "{{ 1.0 }} {{ 1e20 }} {{ 1e-7 }} {{ 0.1 + 0.2 }} {{ 3.0 * 2 }} {{ 10 // 4.0 }} {{ f % 2 }}", "{{ 1 ~ 2 ~ 'a' ~ none ~ true ~ [1,'b'] ~ {'k': 1.5} }}",
 "{{ 'a' 'b' \"c\\n\\t\\x41\\u00e9\\q\\'\" }}", "{{ [1, 2.5, 'a', \"it's\", none, true, [], {}, {'a': 'b\\n'}] }}", "{{ (1, 2) | list }} {{ () | length }} {{ (1,)[0] }}",
 "{{ 1 < 2 < 3 }} {{ 1 < 2 > 5 }} {{ 'a' < 'b' }} {{ 1 == 1.0 }} {{ true == 1 }} {{ 'a' != 1 }} {{ none == false }}", "{{ 'l' in s }} {{ 3 in l }} {{ 'a' in d }} {{ 9 not in l }} {{ not t }} {{ not e and t }}",
 "{{ x if t }} [{{ x if n }}] {{ 'a' if n else 'b' if e else 'c' }}", "{{ e or 'dflt' }} {{ l and 'yes' }} {{ n or 0 or '' or none }}", "{{ s[1:3] }}|{{ s[::-1] }}|{{ s[-3:] }}|{{ s[:-3] }}|{{ l[1:] }}|{{ l[::-1] }}|{{ l[5:1:-1] }}|{{ s[10:2:-2] }}|{{ l[-1] }}|{{ s[1] }}|[{{ l[7] }}]",
 "{{ d.b }} {{ d['a'][1].k }} {{ d.a.1.k }} [{{ d.zz }}] {{ d.items() | map('list') | list }} {{ d['items'] }} {{ d.get('q', 4) }} {{ d.get('b') }} {{ d.keys() | list }}",
 "{{ d | tojson }}", "{{ d | tojson(indent=2) }}", "{{ d | tojson(sort_keys=true, separators=(',', ':')) }}", "{{ s | tojson }} {{ html | tojson }} {{ 'a\\u0001\\n\\\\\"/' | tojson }} {{ [] | tojson(indent=1) }} {{ {} | tojson(indent=3) }}",
 "{{ '  a b ' | trim }}|{{ 'xxaxx' | trim('x') }}|{{ ' a '.strip() }}|{{ 'abca'.lstrip('ab') }}|{{ ' a '.rstrip() }}|", "{{ 'a,b,,c'.split(',') }} {{ ' a  b c '.split() }} {{ 'a b c d'.split(' ', 2) }} {{ ' a b  c '.split(none, 1) }}",
 "{{ s | upper }} {{ s | lower }} {{ s | title }} {{ s | capitalize }} {{ s | length }} {{ l | length }} {{ d | length }} {{ e | length }}", "{{ 'hello world it' | title }} {{ 'ABC def' | capitalize }}",
 "{{ s.startswith('h') }} {{ s.endswith(('x', 'd')) }} {{ s.replace('l', 'L', 2) }} {{ s | replace('o', '0') }} {{ s.find('W') }} {{ 'abcabc'.count('bc') }} {{ '-'.join(['a', 'b']) }}",
 "{{ ms | map(attribute='role') | join(', ') }} {{ ms | map('length') | list }} {{ ms | map(attribute='w', default=0) | sum }}", "{{ ms | selectattr('role', 'equalto', 'user') | map(attribute='content') | list }} {{ ms | rejectattr('w') | list | length }} {{ ms | selectattr('w', 'defined') | list | length }}",
 "{{ [0, 1, '', 'a', none] | select | list }} {{ [1,2,3,4] | select('even') | list }} {{ [1,2,3,4] | reject('gt', 2) | list }} {{ [1, 2] | reject('in', [2]) | list }}",
 "{{ l | sort }} {{ l | sort(reverse=true) }} {{ ['b', 'A', 'c', 'a'] | sort }} {{ ['b', 'A', 'a'] | sort(case_sensitive=true) }} {{ ms | sort(attribute='content') | map(attribute='content') | list }}",
 "{{ ['b', 'B', 'a'] | unique | list }} {{ l | min }} {{ l | max }} {{ l | first }} {{ l | last }} [{{ [] | first }}] {{ l | reverse | list }} {{ 'abc' | reverse }} {{ d | dictsort | map('list') | list }} {{ l | sum }}",
 "{{ '3.7' | int }} {{ 'x' | int }} {{ 'x' | int(5) }} {{ 3.9 | int }} {{ '2.5' | float }} {{ 'q' | float }} {{ 2.567 | round(2) }} {{ 2.5 | round }} {{ -3 | abs }} {{ 42.7 | round(method='floor') }} {{ 3 | string ~ 1 }}",
 "{{ undefinedname }}|{{ undefinedname is defined }}|{{ undefinedname | default('z') }}|{{ e | default('q', true) }}|{{ n | d('u') }}|{% for i in undefinedname %}{% else %}none{% endfor %}",
 "{{ x is odd }} {{ x is divisibleby 3 }} {{ x is divisibleby(2) }} {{ s is string }} {{ d is mapping }} {{ l is iterable }} {{ l is sequence }} {{ x is number }} {{ f is float }} {{ x is integer }} {{ t is true }} {{ t is boolean }} {{ n is none }} {{ n is not none }} {{ x is in l }} {{ not x is odd }} {{ x is eq 3 and t }}",
 "{% for i in l %}{{ loop.index }}/{{ loop.length }}:{{ i }}{% if not loop.last %}, {% endif %}{% endfor %}", "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}{% for k in d %}{{ k }}{% endfor %}", "{% for m in ms if m.role == 'user' %}{{ loop.index0 }}{{ loop.revindex }}{{ m.content }}{{ loop.first }}{{ loop.previtem.content if loop.previtem is defined }}{% else %}no{% endfor %}",
 "{% for i in range(10) %}{% if i == 2 %}{% continue %}{% endif %}{% if i > 4 %}{% break %}{% endif %}{{ i }}{{ loop.cycle('a', 'b') }}{% endfor %}", "{% for i in range(5, 0, -2) %}{{ i }} {% endfor %}{{ range(3) | list }}",
 "{% set a = 1 %}{% for i in [1] %}{% set a = 2 %}{{ a }}{% endfor %}{{ a }}{% if t %}{% set a = 3 %}{% endif %}{{ a }}", "{% set ns = namespace(c=0, l=[]) %}{% for i in l %}{% set ns.c = ns.c + i %}{% set ns.l = ns.l + [i] %}{% endfor %}{{ ns.c }}{{ ns.l }}",
 "{% set a, b = 1, 'z' %}{{ a }}{{ b }}{% set c %}  in {{ a }}  {% endset %}[{{ c }}]{% set q | trim | upper %} low {% endset %}[{{ q }}]", "{% macro m(a, b='B', c=a) %}<{{ a }}{{ b }}{{ c }}>{% endmacro %}{{ m(1) }}{{ m(1, c=3) }}{{ m(b=2, a=9) }}{{ m() }}",
 "{% macro rec(n) %}{{ n }}{% if n > 0 %}{{ rec(n - 1) }}{% endif %}{% endmacro %}{{ rec(4) }}", "{% set g = 'top' %}{% macro m() %}{{ g }}{% endmacro %}{% set g = 'later' %}{{ m() }}", "{% macro wrap(t) %}[{{ t }}:{{ caller() }}]{% endmacro %}{% call wrap('x') %}body {{ x }}{% endcall %}", "{% macro wrap() %}{{ caller(1) }}{{ caller(2) }}{% endmacro %}{% call(i) wrap() %}<{{ i }}>{% endcall %}",
 "{% filter upper | replace('A', 'q') %}abc {{ s }}{% endfilter %}", "{{ 'a\n\nb' | indent }}|{{ 'a\nb' | indent(2, true) }}|{{ 'a\n\nb' | indent(width=3, blank=true) }}", "{{ html | e }} {{ html | escape | safe }}", "{{ [1,2] + [3] }} {{ 'ab' * 3 }} {{ [0] * 2 }} {{ 'a' + 'b' }}",
 "{% generation %}in{% endgeneration %} out {% generation %}\n{{ x }}{% endgeneration %}", "{% if x == 1 %}1{% elif x == 2 %}2{% elif x == 3 %}3{% else %}4{% endif %}", "{{ {'a': 1, 'b': {'c': [1]}}.b.c[0] }}{{ {'a': {}} }}{{ {1: 2} | length }}", "{{ dict(a=1, b=2) }} {{ namespace(a=1).a }} {{ 'x'.upper().lower() | upper }}",
 "{{ s | list | length }} {{ 'a-b_c'.split('-')[1].split('_')[0] }} {{ 'a.b.c'.rsplit('.', 1) }}", "{{ 'line1\nline2\r\nl3'.splitlines() }} {{ ' x '.isspace() }} {{ '12'.isdigit() }} {{ 'pre-x'.removeprefix('pre-') }}", "{{ '%s' }} {{ l.index(2) }} {{ l.count(1) }}", "{{ true }} {{ True }} {{ none }} {{ None }} {{ false and 1 }}", "{{ 5 | string | length }} {{ -5 | abs }} {{ (-5) | abs }} {{ 1 - -1 }}",
 "{{ l | join('-') }} {{ ms | join(',', attribute='role') }} {{ [1, [2, 'x']] | join(';') }}",
 # errors
 "{{ undefinedname.x }}", "{{ undefinedname + 1 }}", "{{ undefinedname() }}", "{{ 1 + 'a' }}", "{{ 1 / 0 }}", "{{ 5 % 0 }}", "{% for i in 5 %}{% endfor %}", "{{ x | nofilter }}", "{{ x is notest }}", "{{ raise_exception('boom') }}", "{{ l.append(1) }}", "{% set d.b = 2 %}", "{{ 'a' < 1 }}", "{% include 'x' %}", "{% if %}", "{{ x", "{% for a, b in [[1]] %}{% endfor %}", "{{ n.x.y }}", "{{ x() }}", "{% endif %}", "{{ 'abc", "{{ 1 in 5 }}", "{% macro m(a) %}{% endmacro %}{{ m(1, 2) }}", "{{ range(1000000) }}", "{{ l | sum('q') }}", "{{ n | length }}", "{{ d | tojson | fromjson }}", "{{ undefinedname | tojson }}", "{% set x = %}", "{{ ) }}",
]


def render(source, variables):
    """Text and generation spans, or None for an error."""
    template = chat_template_utils._compile_jinja_template(source)
    tracker = next(e for e in template.environment.extensions.values() if hasattr(e, "activate_tracker"))
    blocks, spans = [], []
    try:
        with tracker.activate_tracker(blocks, spans):
            for block in template.generate(**variables):
                blocks.append(block)
    except Exception:
        return None
    text = "".join(blocks)
    return text, [[len(text[:first].encode()), len(text[:last].encode())] for first, last in spans]


def row(source, variables, **names):
    try:
        result = render(source, variables)
    except Exception:  # the template itself is refused
        result = None
    line = {**names, "expected": None} if result is None else {**names, "expected": result[0], "spans": result[1]}
    if result is not None and not result[1]:
        del line["spans"]
    return json.dumps(line) + "\n"


def main():
    (HERE / "variables.json").write_text(json.dumps(
        {"conversations": CONVERSATIONS, "special": SPECIAL, "tools": [TOOL], "snippets": VARIABLES, "now": NOW}) + "\n")
    with open(HERE / "snippets.golden.jsonl", "w") as out:
        for snippet in SNIPPETS:
            out.write(row(snippet, VARIABLES, template=snippet))
    with open(HERE / "chat.golden.jsonl", "w") as out:
        for file in sorted((HERE / "templates").glob("*.jinja")):
            for name, messages in CONVERSATIONS.items():
                for generate, tools in ((False, False), (True, False), (False, True)):
                    if tools and name not in ("tools", "one"):
                        continue
                    variables = dict(messages=messages, tools=[TOOL] if tools else None, documents=None,
                                     add_generation_prompt=generate, **SPECIAL)
                    with open(file, newline="") as source:
                        out.write(row(source.read(), variables, template=file.name, conversation=name, generate=generate, tools=tools))


if __name__ == "__main__":
    main()

package kerolox.apache;

import java.util.Set;
import java.util.TreeSet;

/**
 * What a body of JSON is made of: a line for each path to a value, with its type or with the value itself.
 * Reads what Apache's broker writes, too: keys that are numbers or objects.
 */
final class Shape {
    /** Objects whose keys are data. Those whose keys are numbers or objects count as well. */
    private static final Set<String> MAPS = Set.of("offsetTable", "topicConfigTable", "subscriptionGroupTable",
            "forbiddenTable", "brokerAddrTable", "clusterAddrTable", "table", "subscriptionTable", "data",
            "consumeStatsList", "filterServerTable", "attributes", "pullOffsetTable", "resetOffsetTable");

    private final String text;
    private final boolean values;
    private final Set<String> lines = new TreeSet<>();
    private int at;

    private Shape(String text, boolean values) {
        this.text = text;
        this.values = values;
    }

    /** The lines of `text`; with the values themselves and the keys of maps, where they are the same in each run. */
    static Set<String> of(String text, boolean values) {
        Shape shape = new Shape(text, values);
        try {
            shape.value("", "");
            shape.space();
            if (shape.at != text.length()) {
                throw new IllegalArgumentException("more follows");
            }
        } catch (RuntimeException e) {
            return Set.of("no JSON: " + e.getMessage());
        }
        return shape.lines;
    }

    private char peek() {
        space();
        if (at >= text.length()) {
            throw new IllegalArgumentException("it ends early");
        }
        return text.charAt(at);
    }

    private void space() {
        while (at < text.length() && Character.isWhitespace(text.charAt(at))) {
            at++;
        }
    }

    private void value(String path, String name) {
        switch (peek()) {
            case '{' -> object(path, name);
            case '[' -> list(path, name);
            case '"' -> leaf(path, "text", string());
            default -> {
                String word = word();
                leaf(path, word.matches("-?\\d.*") ? "number" : word.matches("true|false") ? "bool" : word, word);
            }
        }
    }

    private void leaf(String path, String type, String value) {
        lines.add(path + (values ? "=" + (path.endsWith(".physicOffset") ? "POSITION" : Calls.plain(value)) : ":" + type));
    }

    private void object(String path, String name) {
        at++;
        lines.add(path + ":{}");
        boolean map = MAPS.contains(name);
        while (peek() != '}') {
            String key;
            boolean data = map;
            if (peek() == '"') {
                key = string();
            } else if (peek() == '{') {
                int start = at;
                Set<String> kept = new TreeSet<>(lines);
                object("", "");
                lines.retainAll(kept);
                key = text.substring(start, at);
                data = true;
            } else {
                key = word();
            }
            data |= key.matches("-?\\d+");
            if (peek() != ':') {
                throw new IllegalArgumentException("no colon at " + at);
            }
            at++;
            value(path + "." + (!data ? key : values ? key.replace("\"", "").replace('.', '_') : "*"), data ? "" : key);
            comma('}');
        }
        at++;
    }

    private void list(String path, String name) {
        at++;
        lines.add(path + ":[]");
        while (peek() != ']') {
            value(path + "[]", name);
            comma(']');
        }
        at++;
    }

    private void comma(char end) {
        if (peek() == ',') {
            at++;
        } else if (peek() != end) {
            throw new IllegalArgumentException("no comma at " + at);
        }
    }

    private String word() {
        int start = at;
        while (at < text.length() && ",:}] \n\r\t".indexOf(text.charAt(at)) < 0) {
            at++;
        }
        if (start == at) {
            throw new IllegalArgumentException("no value at " + at);
        }
        return text.substring(start, at);
    }

    private String string() {
        StringBuilder found = new StringBuilder();
        for (at++; text.charAt(at) != '"'; at++) {
            if (text.charAt(at) == '\\') {
                at++;
            }
            found.append(text.charAt(at));
        }
        at++;
        return found.toString();
    }
}

// What a Java application sees of memcached through spymemcached, one line per step; the same lines whoever stands between.
// Arguments: text|binary, host, port.

import java.net.InetSocketAddress;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.Future;
import net.spy.memcached.BinaryConnectionFactory;
import net.spy.memcached.CASValue;
import net.spy.memcached.DefaultConnectionFactory;
import net.spy.memcached.MemcachedClient;

public class SpyJudge {
    private static int step;

    private static void say(String what, Object answer) {
        System.out.println((++step) + " " + what + ": " + answer);
    }

    public static void main(String[] arguments) throws Exception {
        boolean binary = arguments[0].equals("binary");
        var server = List.of(new InetSocketAddress(arguments[1], Integer.parseInt(arguments[2])));
        var client = new MemcachedClient(binary ? new BinaryConnectionFactory() : new DefaultConnectionFactory(), server);
        try {
            single(client);
            counters(client);
            compare(client);
            bulk(client);
            large(client);
            say("flush", client.flush().get());
            say("after the flush", client.get("a"));
            say("versions", client.getVersions().size());
            say("stats", client.getStats().size());
        } finally {
            client.shutdown();
        }
    }

    private static void single(MemcachedClient client) throws Exception {
        say("a miss", client.get("a"));
        say("set", client.set("a", 0, "one").get());
        say("get", client.get("a"));
        say("add there", client.add("a", 0, "two").get());
        say("add new", client.add("b", 0, "two").get());
        say("replace there", client.replace("a", 0, "three").get());
        say("replace missing", client.replace("c", 0, "three").get());
        say("append", client.append("a", "+").get());
        say("prepend", client.prepend("a", "-").get());
        say("get", client.get("a"));
        say("append missing", client.append("c", "+").get());
        say("touch", client.touch("a", 100).get());
        say("delete", client.delete("b").get());
        say("delete missing", client.delete("b").get());
        say("an object", client.set("o", 0, new ArrayList<>(List.of(1, 2, 3))).get());
        say("an object", client.get("o"));
        say("expired at once", client.set("e", -1, "gone").get());
        say("expired at once", client.get("e"));
    }

    private static void counters(MemcachedClient client) throws Exception {
        say("incr missing", client.incr("n", 1));
        say("incr with default", client.incr("n", 1, 10));
        say("incr", client.incr("n", 5));
        say("decr", client.decr("n", 3));
        say("decr below zero", client.decr("n", 100));
        say("async incr", client.asyncIncr("n", 7).get());
        say("get", String.valueOf(client.get("n")).trim());
    }

    private static void compare(MemcachedClient client) throws Exception {
        say("set", client.set("k", 0, "one").get());
        CASValue<Object> seen = client.gets("k");
        say("gets", seen.getValue());
        say("cas", client.cas("k", seen.getCas(), "two"));
        say("cas again", client.cas("k", seen.getCas(), "three"));
        say("get", client.get("k"));
        say("gets missing", client.gets("missing"));
    }

    private static void bulk(MemcachedClient client) throws Exception {
        List<Future<Boolean>> writes = new ArrayList<>();
        for (int number = 0; number < 2000; number++) {
            writes.add(client.set("m" + number, 0, "value " + number));
        }
        int stored = 0;
        for (Future<Boolean> write : writes) {
            stored += write.get() ? 1 : 0;
        }
        say("pipelined sets", stored);
        List<String> keys = new ArrayList<>();
        for (int number = 0; number < 3000; number++) {
            keys.add("m" + number);
        }
        Map<String, Object> found = client.getBulk(keys);
        say("bulk", found.size());
        say("bulk", Arrays.hashCode(new TreeMap<>(found).values().toArray()));
        List<Future<Boolean>> deletes = new ArrayList<>();
        for (int number = 0; number < 3000; number++) {
            deletes.add(client.delete("m" + number));
        }
        int deleted = 0;
        for (Future<Boolean> delete : deletes) {
            deleted += delete.get() ? 1 : 0;
        }
        say("pipelined deletes", deleted);
    }

    private static void large(MemcachedClient client) throws Exception {
        byte[] bytes = new byte[700_000];
        for (int at = 0; at < bytes.length; at++) {
            bytes[at] = (byte) (at * 31 + at / 7);
        }
        say("large", client.set("large", 0, bytes).get());
        say("large", Arrays.hashCode((byte[]) client.get("large")));
        String longest = "k".repeat(250);
        say("longest key", client.set(longest, 0, "v").get());
        say("longest key", client.get(longest));
    }
}

<?php
// Installs the WordPress site whose folder is the first argument, with WordPress's own functions:
// pretty permalinks, two categories, a few posts in French. Dates are fixed, so that two sites
// made by this script give the same answers.
//
//   nuit-des-phares     Culture; accents, entities, guillemets, an emoji, a list and a table
//   port-et-criee       Économie; a title with an ampersand and an apostrophe, a link, a quotation
//   grande-maree        Culture; long (about 24 KB)
//   mots-piegeux        Économie; text that looks like template and ESI tags, to be left as it is
//   pas-encore-parue    a draft: readers get an empty list
$folder = $argv[1];
$url = parse_url(getenv('SITE_URL'));
$_SERVER['HTTP_HOST'] = $url['host'] . ':' . $url['port'];
$_SERVER['SERVER_PROTOCOL'] = 'HTTP/1.1';
$_SERVER['REQUEST_METHOD'] = 'GET';
$_SERVER['REQUEST_URI'] = '/';

mysqli_report(MYSQLI_REPORT_ERROR | MYSQLI_REPORT_STRICT);
(new mysqli('localhost', 'root', '', '', 0, getenv('SITE_DATABASE')))
    ->query('CREATE DATABASE wordpress CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci');

define('WP_INSTALLING', true);
require "$folder/wp-load.php";
require_once ABSPATH . 'wp-admin/includes/upgrade.php';

wp_install('La Marée', 'redaction', 'redaction@maree.invalid', true, '', 'unused password');
wp_delete_post(1, true);
wp_delete_post(2, true);
update_option('blogdescription', 'Le quotidien du littoral');
update_option('timezone_string', 'Europe/Paris');
global $wp_rewrite;
$wp_rewrite->set_permalink_structure('/%postname%/');
$wp_rewrite->flush_rules(false);

$categories = [];
foreach (['culture' => 'Culture & patrimoine', 'economie' => 'Économie'] as $slug => $name) {
    $categories[$slug] = wp_insert_term($name, 'category', ['slug' => $slug])['term_id'];
}

$long = '';
for ($i = 1; strlen($long) < 24000; $i++) {
    $long .= "<p>Au $i<sup>e</sup> jour, la mer s’est retirée à plus de " . (200 + 7 * $i)
        . " mètres&nbsp;; les pêcheurs à pied, bottes aux pieds et râteau à l’épaule, ont ratissé l’estran"
        . " jusqu’à la tombée de la nuit, sous l’œil des gendarmes maritimes.</p>\n";
}
$posts = [
    ['nuit-des-phares', 'culture', '2024-03-05 08:30:00', 'La nuit des phares : l’été s’éclaire',
        "<p>Cœur de l&rsquo;événement, le phare d&rsquo;Eckmühl ouvre ses 307&nbsp;marches. "
        . "&laquo;&nbsp;Ça ne s’était jamais vu&nbsp;&raquo;, s&rsquo;étonne la gardienne 🗼.</p>\n"
        . "<ul>\n<li>Entrée&nbsp;: 5&nbsp;&euro; &lt; 12&nbsp;ans gratuit</li>\n<li>Où&nbsp;? À Penmarc&#8217;h</li>\n</ul>\n"
        . "<table><tbody><tr><th>Départ</th><td>21&nbsp;h</td></tr></tbody></table>",
        'Trois cent sept marches, & une lumière.'],
    ['port-et-criee', 'economie', '2024-03-06 06:15:00', "Port & criée : « l'année noire » des mareyeurs",
        "<p>Le gasoil à 0,97&nbsp;&euro;, la baudroie à 4,20&nbsp;&euro; le kilo&nbsp;: <strong>rien ne va plus</strong>. "
        . "<a href=\"/nuit-des-phares/?de=une&amp;rang=2\">Lire aussi</a>.</p>\n"
        . "<blockquote><p>Nous vendons à perte depuis Noël.</p></blockquote>",
        'Rien ne va plus.'],
    ['grande-maree', 'culture', '2024-03-11 19:05:00', 'Grande marée : coefficient 118', $long, 'L’estran à perte de vue.'],
    ['mots-piegeux', 'economie', '2024-03-12 12:00:00', 'Mots piégeux {{ 7 * 7 }} et {% raw %}',
        "<p>Le rédacteur écrit {{ 7 * 7 }}, {% include 'x' %}, &lt;esi:include src=\"/prive\"/&gt; et "
        . "&lt;fragment name=\"article\"&gt; dans son texte&nbsp;: cela reste du texte.</p>\n"
        . "<!--esi <p>Commentaire ESI d’un lecteur</p> -->\n<p>Fin.</p>",
        'Du texte, rien que du texte.'],
    ['pas-encore-parue', 'economie', '2024-03-13 12:00:00', 'Pas encore parue', '<p>Secret.</p>', ''],
];
kses_remove_filters();   // these are the newsroom's words, not a visitor's
foreach ($posts as [$slug, $category, $date, $title, $content, $excerpt]) {
    $dated = function (array $row) use ($date): array {
        $row['post_modified'] = $date;
        $row['post_modified_gmt'] = get_gmt_from_date($date);
        return $row;
    };
    add_filter('wp_insert_post_data', $dated);
    $id = wp_insert_post(wp_slash([
        'post_name' => $slug,
        'post_title' => $title,
        'post_content' => $content,
        'post_excerpt' => $excerpt,
        'post_status' => $slug === 'pas-encore-parue' ? 'draft' : 'publish',
        'post_date' => $date,
        'post_author' => 1,
        'post_category' => [$categories[$category]],
    ]), true);
    remove_filter('wp_insert_post_data', $dated);
    if (is_wp_error($id)) {
        fwrite(STDERR, "$slug: " . $id->get_error_message() . "\n");
        exit(1);
    }
}
wp_insert_comment(['comment_post_ID' => get_page_by_path('nuit-des-phares', OBJECT, 'post')->ID,
    'comment_author' => 'Soizic', 'comment_content' => 'Quelle belle soirée ! <esi:include src="/prive"/>',
    'comment_date' => '2024-03-05 22:10:00', 'comment_approved' => 1]);
